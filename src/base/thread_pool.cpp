#include "base/thread_pool.h"

#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <set>
#include <system_error>

#include "base/cpu_topology.h"
#include "base/error.h"

namespace thimble {

namespace {

using Clock = std::chrono::steady_clock;

// Regions of a decode step follow each other within microseconds and tokens within the time of a sampler: waking a
// sleeping thread costs 5 to 50 us, so spinning pays for a few times that.
constexpr auto kSpinTime = std::chrono::microseconds(200);
constexpr int kPausesPerClock = 32;

inline void cpu_relax() noexcept {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

void set_affinity(int kernel_id, const std::vector<int>& processors) noexcept {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (const int id : processors) {
    if (id < CPU_SETSIZE) CPU_SET(id, &set);
  }
  // A refusal (sandboxes do) leaves the thread where the kernel puts it: slower at worst.
  static_cast<void>(sched_setaffinity(kernel_id, sizeof set, &set));
}

// Processors that pools of this process have pinned threads to. Two workers on one processor would halve both, so
// later pools leave these to the kernel's choice.
struct Claims {
  std::mutex mutex;
  std::set<int> held;
};

Claims& claims() {
  static Claims instance;
  return instance;
}

// Bits of the gate. Workers enter an open region as they come; one for everyone counts them all as inside.
constexpr uint64_t kOpen = uint64_t{1} << 31;
constexpr uint64_t kEveryone = uint64_t{1} << 30;
constexpr uint64_t kInside = kEveryone - 1;

constexpr uint32_t region_of(uint64_t gate) noexcept {
  return static_cast<uint32_t>(gate >> 32);
}

constexpr uint64_t pack(uint64_t begin, uint64_t end) noexcept {
  return begin << 32 | end;
}

// Takes half of the untouched items, the front for the owner and the back for others; false when there are none.
bool take_half(std::atomic<uint64_t>& range, bool front, uint64_t& begin, uint64_t& end) noexcept {
  uint64_t seen = range.load(std::memory_order_relaxed);
  for (;;) {
    const uint64_t first = seen >> 32;
    const uint64_t last = seen & 0xffffffffu;
    if (first >= last) return false;
    const uint64_t cut = front ? first + (last - first + 1) / 2 : first + (last - first) / 2;
    const uint64_t rest = front ? pack(cut, last) : pack(first, cut);
    if (!range.compare_exchange_weak(seen, rest, std::memory_order_relaxed)) continue;
    begin = front ? first : cut;
    end = front ? cut : last;
    return true;
  }
}

}  // namespace

// Waits until the value differs: spins first, then sleeps on the futex behind std::atomic::wait. Whoever changes the
// value does so with seq_cst before it looks for sleepers, and a sleeper counts itself before it looks at the value:
// one of the two sees the other.
template <typename T>
void ThreadPool::Signal<T>::wait_for_change(T old_value, bool spin) noexcept {
  if (spin) {
    const Clock::time_point start = Clock::now();
    do {
      for (int i = 0; i < kPausesPerClock; ++i) {
        if (value.load(std::memory_order_acquire) != old_value) return;
        cpu_relax();
      }
    } while (Clock::now() - start < kSpinTime);
  }
  sleepers.fetch_add(1, std::memory_order_seq_cst);
  value.wait(old_value, std::memory_order_seq_cst);
  sleepers.fetch_sub(1, std::memory_order_relaxed);
}

template <typename T>
void ThreadPool::Signal<T>::wake() noexcept {
  if (sleepers.load(std::memory_order_seq_cst) > 0) value.notify_all();
}

ThreadPool::ThreadPool(int n_threads, ThreadPoolOptions options) {
  if (n_threads < 1 || n_threads > 1024) {
    fail(ErrorCode::invalid_argument, "threads: {} is outside 1 to 1024", n_threads);
  }
  slots_ = std::vector<Slot>(static_cast<size_t>(n_threads));
  place(options);
  workers_.reserve(static_cast<size_t>(n_threads - 1));
  try {
    for (int i = 1; i < n_threads; ++i) workers_.emplace_back([this, i] { work(i); });
  } catch (const std::system_error& e) {
    const size_t failed = workers_.size() + 2;
    stop();
    release();
    fail(ErrorCode::resource_exhausted, "threads: could not start thread {} of {}: {}", failed, n_threads, e.what());
  }
}

ThreadPool::~ThreadPool() {
  stop();
  release();
}

// Chooses a processor and a share of the work for every thread.
void ThreadPool::place(const ThreadPoolOptions& options) {
  const std::vector<int> usable = usable_processor_ids();
  const std::vector<Processor> processors = order_processors(usable);
  const bool enough = processors.size() >= slots_.size();
  // With more threads than processors a spinning thread takes time from the one it waits for.
  spin_ = enough;
  double total = 0.0;
  for (size_t i = 0; i < slots_.size(); ++i) {
    slots_[i].speed_before = total;
    total += enough ? processors[i].capacity : 1.0;
    slots_[i].speed_after = total;
  }
  for (Slot& slot : slots_) {
    slot.speed_before /= total;
    slot.speed_after /= total;
  }
  if (!enough || slots_.size() == 1) return;
  const std::lock_guard lock(claims().mutex);
  for (size_t i = options.pin_caller ? 0 : 1; i < slots_.size(); ++i) {
    if (i > 0 && !options.pin_workers) break;
    if (claims().held.insert(processors[i].id).second) slots_[i].processor = processors[i].id;
  }
  if (slots_[0].processor < 0) return;
  caller_mask_ = usable;
  caller_id_ = static_cast<int>(::syscall(SYS_gettid));
  set_affinity(caller_id_, {slots_[0].processor});
}

void ThreadPool::release() noexcept {
  if (!caller_mask_.empty()) set_affinity(caller_id_, caller_mask_);
  const std::lock_guard lock(claims().mutex);
  for (const Slot& slot : slots_) claims().held.erase(slot.processor);
}

void ThreadPool::stop() noexcept {
  stopping_.store(true, std::memory_order_release);
  generation_.value.fetch_add(1, std::memory_order_seq_cst);
  generation_.wake();
  for (std::thread& worker : workers_) worker.join();
  workers_.clear();
}

void ThreadPool::work(int thread_index) noexcept {
  const int processor = slots_[static_cast<size_t>(thread_index)].processor;
  if (processor >= 0) set_affinity(0, {processor});
  uint32_t seen = 0;
  for (;;) {
    generation_.wait_for_change(seen, spin_);
    if (stopping_.load(std::memory_order_acquire)) return;
    if (!enter(seen)) continue;
    (*task_)(thread_index);
    const uint64_t before = gate_.value.fetch_sub(1, std::memory_order_seq_cst);
    if ((before & kInside) == 1 && (before & kOpen) == 0) gate_.wake();
  }
}

// True when the calling worker is inside a region newer than `seen`, which becomes the newest one it knows of. It may
// have missed some in between.
bool ThreadPool::enter(uint32_t& seen) noexcept {
  uint64_t gate = gate_.value.load(std::memory_order_acquire);
  while (region_of(gate) != seen) {
    if ((gate & kEveryone) != 0) {
      seen = region_of(gate);
      return true;
    }
    if ((gate & kOpen) == 0) {
      seen = region_of(gate);
      return false;
    }
    if (gate_.value.compare_exchange_weak(gate, gate + 1, std::memory_order_acquire)) {
      seen = region_of(gate);
      return true;
    }
  }
  // The gate is written before the generation that follows it: this worker was quicker.
  cpu_relax();
  return false;
}

void ThreadPool::run(FunctionRef<void(int)> task) noexcept {
  const std::lock_guard lock(region_mutex_);
  run_locked(task, true);
}

void ThreadPool::run_some(FunctionRef<void(int)> task) noexcept {
  const std::lock_guard lock(region_mutex_);
  run_locked(task, false);
}

void ThreadPool::run_locked(FunctionRef<void(int)> task, bool everyone) noexcept {
  if (workers_.empty()) {
    task(0);
    return;
  }
  task_ = &task;
  const uint32_t region = region_of(gate_.value.load(std::memory_order_relaxed)) + 1;
  const uint64_t state = everyone ? kEveryone | workers_.size() : kOpen;
  gate_.value.store(uint64_t{region} << 32 | state, std::memory_order_release);
  generation_.value.store(region, std::memory_order_seq_cst);
  generation_.wake();
  task(0);
  uint64_t gate = gate_.value.fetch_and(~kOpen, std::memory_order_seq_cst) & ~kOpen;
  while ((gate & kInside) != 0) {
    gate_.wait_for_change(gate, spin_);
    gate = gate_.value.load(std::memory_order_acquire);
  }
}

void ThreadPool::parallel_for(int64_t n, int64_t grain, FunctionRef<void(int64_t, int64_t)> body) noexcept {
  grain = std::max<int64_t>(grain, 1);
  if (n <= grain || workers_.empty()) {
    if (n > 0) body(0, n);
    return;
  }
  std::atomic<int64_t> next{0};
  run_some([&](int) {
    for (;;) {
      const int64_t begin = next.fetch_add(grain, std::memory_order_relaxed);
      if (begin >= n) return;
      body(begin, std::min(begin + grain, n));
    }
  });
}

ThreadPool::Range ThreadPool::share(int thread_index, int64_t n, int64_t grain) const noexcept {
  const Slot& slot = slots_[static_cast<size_t>(thread_index)];
  const int64_t n_grains = (n + grain - 1) / grain;
  const auto cut = [&](double part) {
    return std::min(n, grain * static_cast<int64_t>(std::llround(part * static_cast<double>(n_grains))));
  };
  return {cut(slot.speed_before), cut(slot.speed_after)};
}

// Moves half of what the slowest thread has left to the slot of this one, which is empty.
bool ThreadPool::steal(int thread_index) noexcept {
  for (;;) {
    Slot* slowest = nullptr;
    uint64_t most = 0;
    for (Slot& slot : slots_) {
      const uint64_t seen = slot.range.load(std::memory_order_relaxed);
      const uint64_t begin = seen >> 32;
      const uint64_t end = seen & 0xffffffffu;
      if (end > begin && end - begin > most) {
        most = end - begin;
        slowest = &slot;
      }
    }
    if (slowest == nullptr) return false;
    uint64_t begin = 0;
    uint64_t end = 0;
    if (!take_half(slowest->range, false, begin, end)) continue;
    slots_[static_cast<size_t>(thread_index)].range.store(pack(begin, end), std::memory_order_relaxed);
    return true;
  }
}

void ThreadPool::split(int64_t n, int64_t grain, FunctionRef<void(int64_t, int64_t)> body) noexcept {
  // Grains are counted in 32 bits.
  grain = std::max<int64_t>({grain, 1, (n >> 31) + 1});
  if (n <= grain || workers_.empty()) {
    if (n > 0) body(0, n);
    return;
  }
  const std::lock_guard lock(region_mutex_);
  for (int i = 0; i < n_threads(); ++i) {
    const Range mine = share(i, n, grain);
    slots_[static_cast<size_t>(i)].range.store(
        pack(static_cast<uint64_t>(mine.begin / grain), static_cast<uint64_t>((mine.end + grain - 1) / grain)),
        std::memory_order_relaxed);
  }
  const auto walk = [&](int thread_index) {
    std::atomic<uint64_t>& own = slots_[static_cast<size_t>(thread_index)].range;
    uint64_t begin = 0;
    uint64_t end = 0;
    do {
      // Half of the rest at a time: few calls, and the last ones are small enough to balance the threads.
      while (take_half(own, true, begin, end)) {
        body(static_cast<int64_t>(begin) * grain, std::min(static_cast<int64_t>(end) * grain, n));
      }
    } while (steal(thread_index));
  };
  run_locked(walk, false);
}

}  // namespace thimble
