#include "base/file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "base/hash.h"

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

TEST_F(FileTest, StaleTemporariesGoAndHeldOnesStay) {
  AtomicFile held(path("held.packed"));
  held.write("in progress");
  std::ofstream(path("a.packed.123.0.partial")) << "left by a killed writer";
  std::ofstream(path("b.other.123.0.partial")) << "of another kind of file";
  std::ofstream(path("c.packed")) << "finished";
  std::ofstream(path(".partial")) << "no temporary of ours";
  EXPECT_EQ(remove_stale_temporaries(folder_.string(), ".packed"), 1u);
  EXPECT_FALSE(fs::exists(path("a.packed.123.0.partial")));
  EXPECT_EQ(n_files(), 4u);
  held.commit();
  EXPECT_EQ(read_file(path("held.packed"), 100), "in progress");
  EXPECT_EQ(remove_stale_temporaries(path("no such folder"), ".packed"), 0u);
}

TEST_F(FileTest, ATemporaryOfAnEarlierProcessOfThisIdIsNotInTheWay) {
  for (int i = 0; i < 2000; ++i) {
    std::ofstream(path("a") + "." + std::to_string(::getpid()) + "." + std::to_string(i) + ".partial") << "old";
  }
  write_file_atomically(path("a"), "new");
  EXPECT_EQ(read_file(path("a"), 100), "new");
}

TEST_F(FileTest, TheStartIsReplacedOnlyWhereItIsAsExpected) {
  const auto bytes = [](std::string_view text) { return std::as_bytes(std::span(text)); };
  write_file_atomically(path("a"), "head, body");
  EXPECT_TRUE(replace_start(path("a"), bytes("head"), bytes("HEAD")));
  EXPECT_EQ(read_file(path("a"), 100), "HEAD, body");
  EXPECT_FALSE(replace_start(path("a"), bytes("head"), bytes("tail")));
  EXPECT_FALSE(replace_start(path("a"), bytes("HEAD, body and more"), bytes("TAIL, body and more")));
  EXPECT_EQ(read_file(path("a"), 100), "HEAD, body");
  EXPECT_EQ(code_of([&] { replace_start(path("none"), {}, {}); }), ErrorCode::not_found);
}

TEST_F(FileTest, StampsTellSizeAndTime) {
  write_file_atomically(path("a"), "12345");
  const FileStamp before = file_stamp(path("a"));
  EXPECT_EQ(before.bytes, 5u);
  EXPECT_EQ(file_stamp(path("a")), before);
  const struct timespec times[2] = {{1, 2}, {3, 4}};
  ASSERT_EQ(::utimensat(AT_FDCWD, path("a").c_str(), times, 0), 0);
  EXPECT_EQ(file_stamp(path("a")).mtime_ns, 3'000'000'004);
  EXPECT_EQ(code_of([&] { file_stamp(path("none")); }), ErrorCode::not_found);
  EXPECT_EQ(code_of([&] { file_stamp(folder_.string()); }), ErrorCode::io);
}

TEST_F(FileTest, HashOfPiecesIsTheHashOfTheWhole) {
  ContentHasher hasher;
  hasher.update("hello, ");
  hasher.update("world");
  EXPECT_EQ(hasher.hash(), content_hash("hello, world"));
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
