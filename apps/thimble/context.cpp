// Progress and log on standard error: a bar that redraws itself on a terminal, a line every few seconds in a pipe.
#include <fmt/format.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <optional>

#include "base/cpu_topology.h"
#include "base/time_left.h"
#include "verbs.h"

namespace thimble::cli {

namespace {

using Clock = std::chrono::steady_clock;

class ProgressPrinter {
 public:
  explicit ProgressPrinter(bool terminal) : terminal_(terminal) {}
  ~ProgressPrinter() {
    if (drawn_ && terminal_) std::fputs("\r\033[K", stderr);
  }

  void update(uint64_t done, uint64_t total, std::string_view label) {
    const Clock::time_point now = Clock::now();
    const double seconds = std::chrono::duration<double>(now - start_).count();
    const double share = total == 0 ? 0.0 : static_cast<double>(done) / static_cast<double>(total);
    const auto pause = terminal_ ? std::chrono::milliseconds(100) : std::chrono::milliseconds(5000);
    const std::optional<double> estimate = left_.update(seconds, share);
    if (drawn_ ? now - last_ < pause : now - start_ < std::chrono::milliseconds(500)) return;
    last_ = now;
    drawn_ = true;
    const std::string left = estimate ? fmt::format(", {} left", format_duration(*estimate)) : std::string();
    const std::string amount = total == 0 ? fmt::format("{}", done) : fmt::format("{:3.0f} %", 100.0 * share);
    if (terminal_) {
      constexpr int kWidth = 24;
      const int filled = static_cast<int>(share * kWidth);
      const std::string bar =
          std::string(static_cast<size_t>(filled), '#') + std::string(static_cast<size_t>(kWidth - filled), '.');
      fmt::print(stderr, "\r\033[K[{}] {}{}  {}", bar, amount, left, label);
    } else {
      fmt::print(stderr, "{}{}  {}\n", amount, left, label);
    }
    std::fflush(stderr);
  }

 private:
  bool terminal_;
  bool drawn_ = false;
  TimeLeft left_;
  Clock::time_point start_ = Clock::now();
  Clock::time_point last_ = start_;
};

// Diagnostics go to standard error, so that --json output stays one document.
LogFn make_log(bool quiet, int verbose) {
  auto logger = std::make_shared<spdlog::logger>("thimble", std::make_shared<spdlog::sinks::stderr_color_sink_mt>());
  logger->set_pattern("thimble: %^%l%$: %v");
  logger->set_level(quiet          ? spdlog::level::off
                    : verbose >= 2 ? spdlog::level::debug
                    : verbose == 1 ? spdlog::level::info
                                   : spdlog::level::warn);
  return [logger](LogLevel level, std::string_view message) {
    const auto as_spdlog = level == LogLevel::debug  ? spdlog::level::debug
                           : level == LogLevel::info ? spdlog::level::info
                                                     : spdlog::level::warn;
    logger->log(as_spdlog, spdlog::string_view_t(message.data(), message.size()));
  };
}

}  // namespace

Task Context::task() const {
  Task task;
  task.cancel = cancel;
  task.log = make_log(quiet, verbose);
  if (!quiet) {
    auto printer = std::make_shared<ProgressPrinter>(::isatty(STDERR_FILENO) == 1);
    task.progress = [printer](uint64_t done, uint64_t total, std::string_view label) {
      printer->update(done, total, label);
    };
  }
  return task;
}

int Context::threads() const noexcept {
  return n_threads > 0 ? n_threads : usable_cpu_count();
}

}  // namespace thimble::cli
