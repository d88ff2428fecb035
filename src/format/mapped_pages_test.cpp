// Pages given back leave the process, keep their content, and memory that is no mapping is left alone.
#include "format/mapped_pages.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "base/error.h"

namespace thimble {
namespace {

namespace fs = std::filesystem;

// Kilobytes of file mappings resident in this process.
int64_t resident_file_kb() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("RssFile:")) return std::stoll(line.substr(8));
  }
  return -1;
}

uint64_t sum_of(std::span<const std::byte> bytes) {
  uint64_t sum = 0;
  for (const std::byte b : bytes) sum += static_cast<uint64_t>(b);
  return sum;
}

TEST(ReleasePages, TheProcessShrinksAndTheContentStays) {
  constexpr size_t kBytes = size_t{8} << 20;
  const fs::path path = fs::temp_directory_path() / fmt::format("thimble-pages-{}", ::getpid());
  write_file_atomically(path.string(), std::string(kBytes, '\1'));
  {
    const std::vector<std::shared_ptr<const MappedFile>> mappings = {std::make_shared<const MappedFile>(path.string())};
    const std::span<const std::byte> bytes = mappings[0]->bytes();
    EXPECT_EQ(sum_of(bytes), kBytes);
    const int64_t before = resident_file_kb();
    if (before < 0) GTEST_SKIP() << "no /proc/self/status";
    release_pages(mappings, bytes.subspan(100, kBytes - 200));
    // One megabyte of slack for code of this program that is paged in meanwhile.
    EXPECT_LE(resident_file_kb(), before - (7 << 10));
    EXPECT_EQ(sum_of(bytes), kBytes);
  }
  fs::remove(path);
}

TEST(ReleasePages, MemoryThatIsNoMappingKeepsItsContent) {
  const std::vector<std::byte> bytes(1 << 20, std::byte{1});
  release_pages({}, bytes);
  const std::vector<std::shared_ptr<const MappedFile>> mappings = {std::make_shared<const MappedFile>()};
  release_pages(mappings, bytes);
  EXPECT_EQ(sum_of(bytes), bytes.size());
}

}  // namespace
}  // namespace thimble
