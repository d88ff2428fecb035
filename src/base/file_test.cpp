#include "base/file.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>

#include "base/error.h"

namespace thimble {
namespace {

namespace fs = std::filesystem;

class FileTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / ("thimble_file_test_" + std::to_string(::getpid()) + "_" +
                                           ::testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }
  std::string path(const char* name) const { return (folder_ / name).string(); }
  size_t n_files() const {
    return static_cast<size_t>(std::distance(fs::directory_iterator(folder_), fs::directory_iterator()));
  }
  fs::path folder_;
};

ErrorCode code_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.code();
  }
  ADD_FAILURE() << "no error";
  return ErrorCode::internal;
}

TEST_F(FileTest, MapsAndReadsWhatWasWritten) {
  write_file_atomically(path("a"), "hello");
  const MappedFile mapped(path("a"));
  EXPECT_EQ(mapped.bytes().size(), 5u);
  EXPECT_EQ(read_file(path("a"), 5), "hello");
  EXPECT_EQ(code_of([&] { read_file(path("a"), 4); }), ErrorCode::resource_exhausted);
}

TEST_F(FileTest, EmptyMissingFolderAndDeviceAreToldApart) {
  write_file_atomically(path("empty"), "");
  EXPECT_TRUE(MappedFile(path("empty")).bytes().empty());
  EXPECT_EQ(code_of([&] { MappedFile f(path("missing")); }), ErrorCode::not_found);
  EXPECT_EQ(code_of([&] { MappedFile f(folder_.string()); }), ErrorCode::io);
  EXPECT_EQ(code_of([&] { MappedFile f("/dev/zero"); }), ErrorCode::io);
  EXPECT_EQ(code_of([&] { AtomicFile f(path("no/such/folder")); }), ErrorCode::not_found);
  EXPECT_EQ(code_of([&] { AtomicFile f(folder_.string()); }), ErrorCode::io);
  EXPECT_EQ(code_of([&] { AtomicFile f("/dev/null"); }), ErrorCode::io);
}

TEST_F(FileTest, WithoutCommitTheOldFileStandsAndNothingIsLeft) {
  write_file_atomically(path("a"), "old");
  {
    AtomicFile file(path("a"));
    file.write("new, but never committed");
  }
  EXPECT_EQ(read_file(path("a"), 100), "old");
  EXPECT_EQ(n_files(), 1u);
}

TEST_F(FileTest, WriteAtOverwritesEarlierBytes) {
  AtomicFile file(path("a"));
  file.write("0123456789");
  file.write_at(2, std::as_bytes(std::span("xy", 2)));
  file.write("!");
  file.commit();
  EXPECT_EQ(read_file(path("a"), 100), "01xy456789!");
}

TEST_F(FileTest, FullDiskIsAnErrorAndLeavesNothing) {
  // A file size limit fails writes like a full disk does, without needing a mount.
  struct rlimit before {};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  const struct rlimit small = {1024, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const ErrorCode code = code_of([&] {
    AtomicFile file(path("big"));
    for (int i = 0; i < 100; ++i) file.write(std::string(100, 'x'));
    file.commit();
  });
  ::setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, old_handler);
  EXPECT_EQ(code, ErrorCode::resource_exhausted);
  EXPECT_EQ(n_files(), 0u);
}

}  // namespace
}  // namespace thimble
