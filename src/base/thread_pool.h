// A fixed set of worker threads that run one parallel region at a time without allocating.
// The calling thread takes part as worker 0. Several threads may share a pool: their regions run one after another.
// Workers are pinned to processors of their own (cpu_topology.h) and wait for the next region by spinning shortly, then
// sleeping; a region of two threads costs a few hundred nanoseconds while they spin.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "base/function_ref.h"

namespace thimble {

struct ThreadPoolOptions {
  /// Each worker to one processor, as long as there is one for every thread that no other pool of the process holds.
  bool pin_workers = true;
  /// Also the constructing thread, which gets its old affinity back when the pool is destroyed. Threads it starts in
  /// between inherit the one processor, so a library leaves this to its user.
  bool pin_caller = false;
};

class ThreadPool {
 public:
  /// `n_threads` >= 1 counts the caller. Errors: resource_exhausted when a thread cannot be started.
  explicit ThreadPool(int n_threads, ThreadPoolOptions options = {});
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int n_threads() const noexcept { return static_cast<int>(slots_.size()); }

  /// Processor that a thread is pinned to, or -1.
  int processor(int thread_index) const noexcept { return slots_[static_cast<size_t>(thread_index)].processor; }

  /// Calls task(thread_index) once on every thread and returns when all are done. `task` must not throw and must not
  /// call run() or another of these of the same pool.
  void run(FunctionRef<void(int thread_index)> task) noexcept;

  /// As run(), but without waiting for workers that are not there in time: the system runs something else on their
  /// processor, or they sleep. For tasks that take their work from a shared counter; the caller alone must be able to
  /// finish it.
  void run_some(FunctionRef<void(int thread_index)> task) noexcept;

  /// Calls body(begin, end) over [0, n) in chunks of at most `grain` items, handed out as threads become free.
  void parallel_for(int64_t n, int64_t grain, FunctionRef<void(int64_t begin, int64_t end)> body) noexcept;

  /// Calls body(begin, end) over [0, n) so that each thread walks through one range of neighbouring items, sized by the
  /// speed of its processor; whoever is done early takes over half of what the slowest has left. Ranges begin at
  /// multiples of `grain`. For streams of memory; n <= grain runs on the caller alone.
  void split(int64_t n, int64_t grain, FunctionRef<void(int64_t begin, int64_t end)> body) noexcept;

  /// The items [begin, end) of split(n, grain) that thread `thread_index` begins with.
  struct Range {
    int64_t begin, end;
  };
  Range share(int thread_index, int64_t n, int64_t grain) const noexcept;

 private:
  // What one thread owns; apart from its neighbours' cache lines.
  struct alignas(64) Slot {
    std::atomic<uint64_t> range{0};  // split(): begin of the untouched items in the high half, their end in the low one
    int processor = -1;
    double speed_before = 0.0;  // sum of the capacities of the threads before this one, over that of all
    double speed_after = 1.0;
  };

  // A word that threads wait to change, with the number of those that sleep: libstdc++ enters the kernel for every
  // notify, which costs more than the rest of a region.
  template <typename T>
  struct alignas(64) Signal {
    std::atomic<T> value{0};
    std::atomic<int> sleepers{0};
    void wait_for_change(T old_value, bool spin) noexcept;
    void wake() noexcept;
  };

  void place(const ThreadPoolOptions& options);
  void release() noexcept;
  void work(int thread_index) noexcept;
  bool enter(uint32_t& seen) noexcept;
  void run_locked(FunctionRef<void(int thread_index)> task, bool everyone) noexcept;
  bool steal(int thread_index) noexcept;
  void stop() noexcept;

  std::mutex region_mutex_;  // one parallel region at a time
  std::vector<std::thread> workers_;
  std::vector<Slot> slots_;
  std::vector<int> caller_mask_;  // affinity to restore; empty when the caller was not pinned
  int caller_id_ = 0;             // kernel's number of the pinned thread
  bool spin_ = true;
  const FunctionRef<void(int)>* task_ = nullptr;
  std::atomic<bool> stopping_{false};
  // Number of the region in the high half, then kOpen and kEveryone, then the workers inside.
  Signal<uint64_t> gate_;
  Signal<uint32_t> generation_;  // follows the number of the region: what workers sleep on
};

}  // namespace thimble
