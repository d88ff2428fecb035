// How fast this machine reads memory: the wall that decoding one token runs against.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/thread_pool.h"

namespace thimble {

/// A buffer larger than the caches, kept so that measurements can be taken between repetitions of something else.
/// Asks for huge pages: they are worth 15 to 35 % on the machines measured, and whoever reads small pages has to bear
/// the comparison.
class ReadBandwidth {
 public:
  /// `pool` must outlive it. Errors: resource_exhausted.
  explicit ReadBandwidth(ThreadPool& pool);
  ~ReadBandwidth();
  ReadBandwidth(const ReadBandwidth&) = delete;
  ReadBandwidth& operator=(const ReadBandwidth&) = delete;

  /// Bytes per second over about `seconds` of passes on every thread of the pool, each a whole pass: the mean, as the
  /// speed of decoding is one.
  double mean(double seconds) const noexcept;
  /// The best of the passes, at least two.
  double best(double seconds) const noexcept;

 private:
  double pass() const noexcept;
  ThreadPool* pool_;
  void* mapping_ = nullptr;
  size_t mapping_bytes_ = 0;
  const uint64_t* words_ = nullptr;
  size_t n_words_ = 0;
};

}  // namespace thimble
