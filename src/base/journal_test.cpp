#include "base/journal.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <thread>
#include <vector>

#include "base/error.h"
#include "base/file.h"

namespace thimble {
namespace {

class JournalTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::temp_directory_path() / ("thimble-journal-" + std::to_string(::getpid()) + "-" +
                                                        testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::create_directories(folder_);
    path_ = (folder_ / "journal.jsonl").string();
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::filesystem::path folder_;
  std::string path_;
};

TEST_F(JournalTest, RemembersAcrossOpenings) {
  {
    Journal journal(path_);
    EXPECT_FALSE(journal.find("a").has_value());
    journal.append("a", R"({"text": "line\nbreak \"quoted\""})");
    journal.append("b", "1");
    journal.append("b", "2");
  }
  Journal journal(path_);
  EXPECT_EQ(journal.find("a"), R"({"text":"line\nbreak \"quoted\""})");
  EXPECT_EQ(journal.find("b"), "2");
  EXPECT_EQ(journal.size(), 2u);
}

TEST_F(JournalTest, EveryTornEndIsDroppedAndTheNextAppendIsWhole) {
  { Journal(path_).append("first", "[1]"); }
  const size_t whole = std::filesystem::file_size(path_);
  { Journal(path_).append("second", "[2]"); }
  const std::string content = read_file(path_, 1 << 20);
  for (size_t cut = whole; cut < content.size(); ++cut) {
    std::ofstream(path_, std::ios::binary) << content.substr(0, cut);
    {
      Journal journal(path_);
      EXPECT_EQ(journal.find("first"), "[1]");
      EXPECT_FALSE(journal.find("second").has_value());
      journal.append("third", "[3]");
    }
    Journal again(path_);
    EXPECT_EQ(again.find("third"), "[3]") << "cut at " << cut;
    EXPECT_EQ(again.size(), 2u);
  }
}

TEST_F(JournalTest, RefusesAFileThatIsNoJournal) {
  const std::string text = "dear diary\n";
  std::ofstream(path_) << text;
  EXPECT_THROW(Journal{path_}, Error);
  EXPECT_EQ(read_file(path_, 100), text);
}

TEST_F(JournalTest, RefusesASecondOpener) {
  const Journal first(path_);
  try {
    const Journal second(path_);
    FAIL() << "opened twice";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::io);
  }
}

TEST_F(JournalTest, MissingFolderIsNotFoundAndAFolderIsAnError) {
  try {
    const Journal journal((folder_ / "none" / "j").string());
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::not_found);
  }
  EXPECT_THROW(Journal{folder_.string()}, Error);
}

TEST_F(JournalTest, FullDiskIsAnErrorAndLeavesWholeLines) {
  Journal journal(path_);
  journal.append("kept", "true");
  const size_t size = std::filesystem::file_size(path_);
  // A file size limit fails writes the way a full disk does: a short write, then EFBIG.
  rlimit old{};
  ::getrlimit(RLIMIT_FSIZE, &old);
  rlimit tight = old;
  tight.rlim_cur = size + 20;
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  ::setrlimit(RLIMIT_FSIZE, &tight);
  ErrorCode code = ErrorCode::internal;
  try {
    journal.append("lost", "\"a value longer than the twenty bytes that are left\"");
  } catch (const Error& e) {
    code = e.code();
  }
  ::setrlimit(RLIMIT_FSIZE, &old);
  std::signal(SIGXFSZ, handler);
  EXPECT_EQ(code, ErrorCode::resource_exhausted);
  EXPECT_EQ(std::filesystem::file_size(path_), size);
  EXPECT_FALSE(journal.find("lost").has_value());
  EXPECT_TRUE(journal.find("kept").has_value());
}

TEST_F(JournalTest, ThreadsMayAppendAtOnce) {
  {
    Journal journal(path_);
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&journal, t] {
        for (int i = 0; i < 50; ++i) journal.append(std::to_string(t * 100 + i), std::to_string(i));
      });
    }
    for (std::thread& t : threads) t.join();
  }
  EXPECT_EQ(Journal(path_).size(), 200u);
}

}  // namespace
}  // namespace thimble
