// 64-byte aligned memory for kernels. Zeroed on allocation so that no old heap content can leak.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>

namespace thimble {

template <typename T>
class AlignedBuffer {
 public:
  AlignedBuffer() = default;
  /// `count` zeroed elements. Errors: std::bad_alloc.
  explicit AlignedBuffer(size_t count) : size_(count) {
    if (count == 0) return;
    if (count > (SIZE_MAX - 64) / sizeof(T)) throw std::bad_alloc();
    const size_t bytes = (count * sizeof(T) + 63) / 64 * 64;
    data_.reset(static_cast<T*>(std::aligned_alloc(64, bytes)));
    if (!data_) throw std::bad_alloc();
    std::memset(static_cast<void*>(data_.get()), 0, bytes);
  }

  T* data() noexcept { return data_.get(); }
  const T* data() const noexcept { return data_.get(); }
  size_t size() const noexcept { return size_; }
  T& operator[](size_t i) noexcept { return data_.get()[i]; }
  const T& operator[](size_t i) const noexcept { return data_.get()[i]; }

 private:
  struct Free {
    void operator()(T* p) const noexcept { std::free(p); }
  };
  std::unique_ptr<T, Free> data_;
  size_t size_ = 0;
};

}  // namespace thimble
