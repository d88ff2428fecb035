// 64-byte aligned memory for kernels. Zeroed on allocation so that no old heap content can leak; large buffers are
// fresh pages of the system, which are zero already and take no memory before their first use.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>
#include <utility>

namespace thimble {

template <typename T>
class AlignedBuffer {
 public:
  AlignedBuffer() = default;
  /// `count` zeroed elements. Errors: std::bad_alloc.
  explicit AlignedBuffer(size_t count) : size_(count) {
    if (count == 0) return;
    if (count > (SIZE_MAX - 2 * kAlignment) / sizeof(T)) throw std::bad_alloc();
    // calloc, not aligned_alloc and memset: it knows which pages are fresh. A cache of half a gigabyte took 0.4 s.
    const size_t bytes = (count * sizeof(T) + kAlignment - 1) / kAlignment * kAlignment;
    memory_.reset(std::calloc(1, bytes + kAlignment - 1));
    if (!memory_) throw std::bad_alloc();
    void* start = memory_.get();
    size_t space = bytes + kAlignment - 1;
    data_ = static_cast<T*>(std::align(kAlignment, bytes, start, space));
  }
  AlignedBuffer(AlignedBuffer&& other) noexcept { swap(other); }
  AlignedBuffer& operator=(AlignedBuffer&& other) noexcept {
    AlignedBuffer(std::move(other)).swap(*this);
    return *this;
  }

  T* data() noexcept { return data_; }
  const T* data() const noexcept { return data_; }
  size_t size() const noexcept { return size_; }
  T& operator[](size_t i) noexcept { return data_[i]; }
  const T& operator[](size_t i) const noexcept { return data_[i]; }

 private:
  static constexpr size_t kAlignment = 64;

  struct Free {
    void operator()(void* p) const noexcept { std::free(p); }
  };
  void swap(AlignedBuffer& other) noexcept {
    std::swap(memory_, other.memory_);
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
  }

  std::unique_ptr<void, Free> memory_;
  T* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace thimble
