#include "eval/item_dealer.h"

#include <atomic>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace thimble {

namespace {

class Dealer {
 public:
  explicit Dealer(std::span<const size_t> todo) : todo_(todo) {}

  void work(const ItemWorker& worker) noexcept {
    try {
      worker([this] { return take(); });
    } catch (...) {
      const std::lock_guard lock(mutex_);
      if (!error_) error_ = std::current_exception();
      stop_.store(true);
    }
  }

  void finish() const {
    if (error_) std::rethrow_exception(error_);
  }

 private:
  std::optional<size_t> take() noexcept {
    if (stop_.load()) return std::nullopt;
    const size_t n = next_.fetch_add(1);
    return n < todo_.size() ? std::optional(todo_[n]) : std::nullopt;
  }

  std::span<const size_t> todo_;
  std::atomic<size_t> next_{0};
  std::atomic<bool> stop_{false};
  std::mutex mutex_;
  std::exception_ptr error_;
};

}  // namespace

void deal_items(std::span<const size_t> todo, std::span<const ItemWorker> workers) {
  if (todo.empty() || workers.empty()) return;
  Dealer dealer(todo);
  std::vector<std::thread> threads;
  // More workers than items would only start and stop.
  for (size_t w = 1; w < workers.size() && w < todo.size(); ++w) {
    threads.emplace_back([&dealer, &workers, w] { dealer.work(workers[w]); });
  }
  dealer.work(workers[0]);
  for (std::thread& t : threads) t.join();
  dealer.finish();
}

}  // namespace thimble
