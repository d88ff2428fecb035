// A fixed set of worker threads that run one parallel region at a time without allocating.
// The calling thread takes part as worker 0. Several threads may share a pool: their regions run one after another.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

#include "base/function_ref.h"

namespace thimble {

class ThreadPool {
 public:
  /// `n_threads` >= 1 counts the caller. Errors: resource_exhausted when a thread cannot be started.
  explicit ThreadPool(int n_threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int n_threads() const noexcept { return static_cast<int>(workers_.size()) + 1; }

  /// Calls task(thread_index) once on every thread and returns when all are done. `task` must not throw and must not
  /// call run() of the same pool.
  void run(FunctionRef<void(int thread_index)> task) noexcept;

  /// Calls body(begin, end) over [0, n) in chunks of at most `grain` items, handed out as threads become free.
  void parallel_for(int64_t n, int64_t grain, FunctionRef<void(int64_t begin, int64_t end)> body) noexcept;

 private:
  void work(int thread_index) noexcept;
  void stop() noexcept;

  std::mutex region_mutex_;  // one parallel region at a time
  std::vector<std::thread> workers_;
  const FunctionRef<void(int)>* task_ = nullptr;
  std::atomic<uint32_t> generation_{0};  // bumped to start a region
  std::atomic<int> pending_{0};          // workers that have not finished the region
  std::atomic<bool> stopping_{false};
};

}  // namespace thimble
