#include "device/read_bandwidth.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>

#include "base/error.h"
#include "base/huge_pages.h"

namespace thimble {

namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kWordsPerLine = 64 / sizeof(uint64_t);

double seconds_since(Clock::time_point start) noexcept {
  return std::max(1e-9, std::chrono::duration<double>(Clock::now() - start).count());
}

// Eight times the last level cache, where the system tells it: victim caches keep a share of what streams by.
size_t wanted_bytes() noexcept {
  const long cache = ::sysconf(_SC_LEVEL3_CACHE_SIZE);
  const size_t wanted = 8 * static_cast<size_t>(std::max(0L, cache));
  return std::clamp(wanted, size_t{64} << 20, size_t{512} << 20) / kHugePageBytes * kHugePageBytes;
}

// One word of each line: memory moves whole lines, and loading every byte would measure the core instead. Four sums,
// so that additions do not wait for each other.
uint64_t read_lines(const uint64_t* words, size_t n) noexcept {
  uint64_t sum[4] = {};
  for (size_t i = 0; i + 4 * kWordsPerLine <= n; i += 4 * kWordsPerLine) {
    for (size_t j = 0; j < 4; ++j) sum[j] += words[i + j * kWordsPerLine];
  }
  return sum[0] + sum[1] + sum[2] + sum[3];
}

}  // namespace

ReadBandwidth::ReadBandwidth(ThreadPool& pool) : pool_(&pool) {
  const size_t bytes = wanted_bytes();
  mapping_bytes_ = bytes + kHugePageBytes;
  mapping_ = ::mmap(nullptr, mapping_bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapping_ == MAP_FAILED) {
    fail(ErrorCode::resource_exhausted, "measuring memory bandwidth: could not get {} bytes of memory", bytes);
  }
  const size_t offset = (kHugePageBytes - reinterpret_cast<uintptr_t>(mapping_) % kHugePageBytes) % kHugePageBytes;
  char* const begin = static_cast<char*>(mapping_) + offset;
  ask_for_huge_pages(begin, bytes);  // a system that refuses them measures what it has
  std::memset(begin, 1, bytes);      // untouched pages would all be the one page of zeroes
  words_ = reinterpret_cast<const uint64_t*>(begin);
  n_words_ = bytes / sizeof(uint64_t);
}

ReadBandwidth::~ReadBandwidth() {
  ::munmap(mapping_, mapping_bytes_);
}

// Seconds of reading the buffer once.
double ReadBandwidth::pass() const noexcept {
  std::atomic<uint64_t> sum{0};
  const Clock::time_point start = Clock::now();
  pool_->split(static_cast<int64_t>(n_words_), static_cast<int64_t>(kHugePageBytes / sizeof(uint64_t)),
               [&](int64_t begin, int64_t end) {
                 sum.fetch_add(read_lines(words_ + begin, static_cast<size_t>(end - begin)), std::memory_order_relaxed);
               });
  const double seconds = seconds_since(start);
  // The sum is used, or the reads would be optimised away; every line holds ones.
  return sum.load() == 0 ? 0.0 : seconds;
}

double ReadBandwidth::mean(double seconds) const noexcept {
  const Clock::time_point start = Clock::now();
  double spent = 0.0;
  int passes = 0;
  do {
    spent += pass();
    ++passes;
  } while (seconds_since(start) < seconds);
  return static_cast<double>(n_words_ * sizeof(uint64_t)) * passes / spent;
}

double ReadBandwidth::best(double seconds) const noexcept {
  const Clock::time_point start = Clock::now();
  double least = pass();
  do {
    least = std::min(least, pass());
  } while (seconds_since(start) < seconds);
  return static_cast<double>(n_words_ * sizeof(uint64_t)) / least;
}

}  // namespace thimble
