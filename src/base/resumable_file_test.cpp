// What survives an interruption, and what must not be believed.
#include "base/resumable_file.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "base/file.h"

namespace thimble {
namespace {

namespace fs = std::filesystem;

class ResumableFileTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / fmt::format("thimble-resumable-{}", ::getpid());
    fs::remove_all(folder_);
    fs::create_directories(folder_);
    path_ = (folder_ / "out").string();
  }
  void TearDown() override { fs::remove_all(folder_); }
  size_t n_files() const { return static_cast<size_t>(std::distance(fs::directory_iterator(folder_), {})); }
  static std::span<const std::byte> bytes(std::string_view text) { return std::as_bytes(std::span(text)); }

  fs::path folder_;
  std::string path_;
};

TEST_F(ResumableFileTest, AppearsOnlyWhenItIsWhole) {
  write_file_atomically(path_, "old");
  ResumableFile file(path_, 6, "key");
  file.write("a", 0, bytes("abc"), "1");
  EXPECT_EQ(read_file(path_, 100), "old");
  file.write("b", 3, bytes("def"), "2");
  file.commit();
  EXPECT_EQ(read_file(path_, 100), "abcdef");
  EXPECT_EQ(n_files(), 1u);
}

TEST_F(ResumableFileTest, GoesOnWhereItStopped) {
  { ResumableFile(path_, 6, "key").write("a", 0, bytes("abc"), R"({"loss":0.5})"); }
  EXPECT_FALSE(fs::exists(path_));
  ResumableFile file(path_, 6, "key");
  EXPECT_EQ(file.finished("a"), R"({"loss":0.5})");
  EXPECT_EQ(file.finished("b"), std::nullopt);
  file.write("b", 3, bytes("def"), "{}");
  file.commit();
  EXPECT_EQ(read_file(path_, 100), "abcdef");
}

TEST_F(ResumableFileTest, BelievesNeitherAnotherKeyNorOtherBytes) {
  { ResumableFile(path_, 6, "key").write("a", 0, bytes("abc"), "1"); }
  { EXPECT_EQ(ResumableFile(path_, 6, "other").finished("a"), std::nullopt); }
  { EXPECT_NE(ResumableFile(path_, 6, "key").finished("a"), std::nullopt); }
  { std::ofstream(path_ + ".unfinished", std::ios::in | std::ios::out).write("X", 1); }
  EXPECT_EQ(ResumableFile(path_, 6, "key").finished("a"), std::nullopt);
}

TEST_F(ResumableFileTest, IsWrittenByOneAtATimeAndDiscardedWhole) {
  ResumableFile file(path_, 6, "key");
  try {
    ResumableFile second(path_, 6, "key");
    FAIL() << "two writers of one file";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::io) << e.what();
  }
  file.discard();
  EXPECT_EQ(n_files(), 0u);
}

TEST_F(ResumableFileTest, RefusesWhatCannotBeAFile) {
  EXPECT_THROW(ResumableFile("/dev/null", 1, "key"), Error);
  EXPECT_THROW(ResumableFile((folder_ / "missing" / "out").string(), 1, "key"), Error);
  ResumableFile file(path_, 3, "key");
  EXPECT_THROW(file.write("a", 1, bytes("abc"), "1"), Error);
}

}  // namespace
}  // namespace thimble
