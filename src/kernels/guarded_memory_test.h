// Memory for tests that ends exactly at an inaccessible page and starts right after one when it fills whole pages.
#pragma once

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace thimble::kernels {

class GuardedMemory {
 public:
  explicit GuardedMemory(size_t bytes) : bytes_(bytes) {
    page_ = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    const size_t body = (bytes + page_ - 1) / page_ * page_;
    mapped_ = body + 2 * page_;
    base_ = static_cast<std::byte*>(mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    EXPECT_NE(base_, MAP_FAILED);
    EXPECT_EQ(mprotect(base_, page_, PROT_NONE), 0);
    EXPECT_EQ(mprotect(base_ + page_ + body, page_, PROT_NONE), 0);
    data_ = base_ + page_ + body - bytes;
    // Bytes nobody wrote must not look like a plausible result.
    std::memset(data_, 0xA5, bytes);
  }
  ~GuardedMemory() { munmap(base_, mapped_); }
  GuardedMemory(const GuardedMemory&) = delete;
  GuardedMemory& operator=(const GuardedMemory&) = delete;

  std::byte* data() noexcept { return data_; }
  const std::byte* data() const noexcept { return data_; }
  template <typename T>
  T* as() noexcept {
    return reinterpret_cast<T*>(data_);
  }
  size_t size() const noexcept { return bytes_; }

 private:
  size_t bytes_, page_ = 0, mapped_ = 0;
  std::byte* base_ = nullptr;
  std::byte* data_ = nullptr;
};

/// Deterministic random numbers that do not depend on the standard library's distributions.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed * 0x9E3779B97F4A7C15u + 1) {}
  uint32_t next() noexcept {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    uint64_t z = state_ ^ (state_ >> 31);
    z *= 0xD6E8FEB86659FD93u;
    return static_cast<uint32_t>(z >> 32);
  }
  /// Uniform in [-1, 1).
  float uniform() noexcept { return static_cast<float>(static_cast<int32_t>(next())) * 0x1p-31f; }

 private:
  uint64_t state_;
};

}  // namespace thimble::kernels
