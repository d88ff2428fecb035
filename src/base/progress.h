// Progress, log and cancellation of anything that takes longer than two seconds. The library reports; the caller draws.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string_view>

#include "base/error.h"
#include "base/log.h"

namespace thimble {

/// Called with the units done and in all (0 when unknown) and what is being worked on. Called from one thread at a
/// time.
using ProgressFn = std::function<void(uint64_t done, uint64_t total, std::string_view label)>;

/// Set from any thread or from a signal handler; polled by the work.
class CancelToken {
 public:
  void cancel() noexcept { cancelled_.store(true, std::memory_order_relaxed); }
  void reset() noexcept { cancelled_.store(false, std::memory_order_relaxed); }
  bool cancelled() const noexcept { return cancelled_.load(std::memory_order_relaxed); }

 private:
  std::atomic<bool> cancelled_{false};
  static_assert(std::atomic<bool>::is_always_lock_free, "a signal handler sets it");
};

/// What long-running functions take: any member may be left empty.
struct Task {
  ProgressFn progress;
  LogFn log;
  const CancelToken* cancel = nullptr;

  void report(uint64_t done, uint64_t total, std::string_view label) const {
    if (progress) progress(done, total, label);
  }
  /// Formats by fmt only when somebody listens.
  template <typename... Args>
  void say(LogLevel level, fmt::format_string<Args...> format, Args&&... args) const {
    if (log) log(level, fmt::format(format, std::forward<Args>(args)...));
  }
  bool cancelled() const noexcept { return cancel != nullptr && cancel->cancelled(); }
  /// Errors: cancelled, when cancellation was asked for.
  void check(std::string_view what) const {
    if (cancelled()) fail(ErrorCode::cancelled, "{}: cancelled", what);
  }
};

}  // namespace thimble
