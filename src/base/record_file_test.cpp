// Every prefix and every damaged byte of a file of records is found; a writer goes on behind the last whole record.
#include "base/record_file.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "base/error.h"

namespace thimble {
namespace {

constexpr std::string_view kMagic = "THIMTEST";

class Records : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::temp_directory_path() / ("thimble-records-" + std::to_string(::getpid()) + "-" +
                                                        testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  std::string path() const { return (folder_ / "file").string(); }
  std::string unfinished() const { return path() + ".unfinished"; }

  static std::string read(const std::string& path) { return read_file(path, 1 << 20); }
  static void write(const std::string& path, std::string_view bytes) {
    std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
  }

  std::vector<std::string> seen_;
  RecordWriter writer(std::string_view header = "header") {
    seen_.clear();
    return {path(), kMagic, header, [&](std::span<const std::byte> r) {
              seen_.emplace_back(reinterpret_cast<const char*>(r.data()), r.size());
            }};
  }
  static void append(RecordWriter& w, std::string_view text) { w.append(std::as_bytes(std::span(text))); }
  std::vector<std::string> contents() const {
    std::vector<std::string> out;
    const RecordFile file(path(), kMagic);
    for (const auto& r : file.records()) out.emplace_back(reinterpret_cast<const char*>(r.data()), r.size());
    return out;
  }
  std::filesystem::path folder_;
};

const std::vector<std::string> kThree = {"one", "", "three"};

TEST_F(Records, WhatIsWrittenIsRead) {
  {
    auto w = writer();
    for (const std::string& r : kThree) append(w, r);
    EXPECT_FALSE(std::filesystem::exists(path())) << "not before it is whole";
    w.commit();
  }
  EXPECT_FALSE(std::filesystem::exists(unfinished()));
  EXPECT_EQ(contents(), kThree);
  EXPECT_EQ(RecordFile(path(), kMagic).header(), "header");
}

TEST_F(Records, AFileWithoutRecordsIsWhole) {
  auto w = writer("h");
  w.commit();
  EXPECT_TRUE(contents().empty());
}

TEST_F(Records, AWriterGoesOnBehindTheLastWholeRecordWhereverItWasCut) {
  {
    auto w = writer();
    for (const std::string& r : kThree) append(w, r);
  }
  const std::string whole = read(unfinished());
  size_t most = 0;
  for (size_t bytes = 0; bytes <= whole.size(); ++bytes) {
    write(unfinished(), whole.substr(0, bytes));
    {
      auto w = writer();
      ASSERT_LE(seen_.size(), 3u);
      ASSERT_GE(seen_.size(), most) << "more bytes never hold fewer records";
      most = seen_.size();
      for (size_t i = seen_.size(); i < kThree.size(); ++i) append(w, kThree[i]);
      w.commit();
    }
    ASSERT_EQ(contents(), kThree) << "cut after " << bytes;
  }
  EXPECT_EQ(most, 3u);
}

TEST_F(Records, EveryPrefixAndEveryFlippedBitOfAFinishedFileIsRefused) {
  {
    auto w = writer();
    for (const std::string& r : kThree) append(w, r);
    w.commit();
  }
  const std::string whole = read(path());
  for (size_t bytes = 0; bytes < whole.size(); ++bytes) {
    write(path(), whole.substr(0, bytes));
    ASSERT_THROW(RecordFile(path(), kMagic), Error) << bytes;
  }
  for (size_t i = 0; i < whole.size(); ++i) {
    std::string damaged = whole;
    damaged[i] = static_cast<char>(damaged[i] ^ 0x10);
    write(path(), damaged);
    ASSERT_THROW(RecordFile(path(), kMagic), Error) << i;
  }
  write(path(), whole + "x");
  EXPECT_THROW(RecordFile(path(), kMagic), Error);
  write(path(), whole);
  EXPECT_EQ(contents(), kThree);
}

TEST_F(Records, UnfinishedWorkOfAnotherHeaderIsNotTakenUp) {
  {
    auto w = writer("one model");
    append(w, "old");
  }
  auto w = writer("another model");
  EXPECT_TRUE(seen_.empty());
  append(w, "new");
  w.commit();
  EXPECT_EQ(contents(), std::vector<std::string>{"new"});
}

TEST_F(Records, TwoWritersAtOnceAreRefused) {
  auto w = writer();
  try {
    auto second = writer();
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::io);
    EXPECT_NE(std::string(e.what()).find("in use"), std::string::npos) << e.what();
  }
}

TEST_F(Records, AMissingFolderIsNotFound) {
  try {
    RecordWriter w("/nonexistent/folder/file", kMagic, "h", [](std::span<const std::byte>) {});
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::not_found);
  }
}

}  // namespace
}  // namespace thimble
