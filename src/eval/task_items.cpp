// The loop over the items of a task: journal, worker threads. Knows nothing of models.
#include <atomic>
#include <exception>
#include <thread>

#include "base/error.h"
#include "base/hash.h"
#include "base/json.h"
#include "eval/task_run.h"

namespace thimble {

namespace {

// What the answer depends on besides the model; references do not count, so that corrected ones need no new answers.
std::string item_key(const TaskSet& task, const TaskItem& item, const std::string& run_key) {
  Json parts = {run_key, task.max_tokens, task.stop};
  for (const ChatMessage& m : task_messages(task, item)) parts.push_back({m.role, m.content});
  return fmt::format("task/{}/{}/{}", task.name, item.id, content_hash(parts.dump()));
}

std::optional<Answer> recall(const Journal* journal, const std::string& key) {
  const std::optional<std::string> text = journal == nullptr ? std::nullopt : journal->find(key);
  if (!text) return std::nullopt;
  const std::string source = "journal entry " + key;
  const Json json = parse_json(*text, source);
  const JsonObject entry(json, source);
  return Answer{entry.string("answer"), entry.boolean("truncated", false)};
}

class ItemLoop {
 public:
  ItemLoop(const TaskSet& task, const std::string& run_key, Journal* journal, const Task& progress)
      : task_(task), journal_(journal), progress_(progress) {
    answers_.resize(task.items.size());
    for (size_t i = 0; i < task.items.size(); ++i) {
      keys_.push_back(item_key(task, task.items[i], run_key));
      answers_[i] = recall(journal, keys_[i]);
      if (!answers_[i]) todo_.push_back(i);
    }
  }

  void run(std::span<const Answerer> workers) {
    std::vector<std::thread> threads;
    // The calling thread is the first worker; more workers than items would only start and stop.
    for (size_t w = 1; w < workers.size() && w < todo_.size(); ++w) {
      threads.emplace_back([this, &workers, w] { work(workers[w]); });
    }
    if (!todo_.empty()) work(workers[0]);
    for (std::thread& t : threads) t.join();
    if (error_) std::rethrow_exception(error_);
  }

  TaskResult result() {
    TaskResult out{task_.name, task_.primary, {}};
    for (size_t i = 0; i < task_.items.size(); ++i) {
      out.items.push_back(score_item(task_, task_.items[i], std::move(answers_[i]->text), answers_[i]->truncated));
    }
    return out;
  }

 private:
  void work(const Answerer& answer) noexcept {
    try {
      for (size_t n = next_.fetch_add(1); n < todo_.size() && !stop_.load(); n = next_.fetch_add(1)) {
        progress_.check(task_.name);
        finish(todo_[n], answer(todo_[n]));
      }
    } catch (...) {
      const std::lock_guard lock(mutex_);
      if (!error_) error_ = std::current_exception();
      stop_.store(true);
    }
  }

  void finish(size_t i, Answer answer) {
    if (journal_ != nullptr) {
      journal_->append(keys_[i], Json{{"answer", answer.text}, {"truncated", answer.truncated}}.dump());
    }
    const std::lock_guard lock(mutex_);
    answers_[i] = std::move(answer);
    ++done_;
    progress_.report(task_.items.size() - todo_.size() + done_, task_.items.size(), task_.name);
  }

  const TaskSet& task_;
  Journal* journal_;
  const Task& progress_;
  std::vector<std::string> keys_;
  std::vector<std::optional<Answer>> answers_;
  std::vector<size_t> todo_;
  std::atomic<size_t> next_{0};
  std::atomic<bool> stop_{false};
  std::mutex mutex_;  // answers_, done_, error_ and the progress callback
  size_t done_ = 0;
  std::exception_ptr error_;
};

}  // namespace

double TaskResult::mean(Metric m) const noexcept {
  double sum = 0;
  for (const ItemResult& item : items) {
    const auto it = item.scores.find(m);
    if (it != item.scores.end()) sum += it->second;
  }
  return items.empty() ? 0.0 : sum / static_cast<double>(items.size());
}

std::vector<double> TaskResult::points() const {
  std::vector<double> out;
  for (const ItemResult& item : items) out.push_back(100.0 * item.scores.at(primary) / metric_scale(primary));
  return out;
}

std::vector<std::string> TaskResult::clusters() const {
  std::vector<std::string> out;
  for (const ItemResult& item : items) out.push_back(item.cluster);
  return out;
}

TaskResult run_items(const TaskSet& task, std::span<const Answerer> workers, const std::string& run_key,
                     Journal* journal, const Task& progress) {
  if (workers.empty()) fail(ErrorCode::invalid_argument, "{}: found no engine to run on, expected one", task.name);
  ItemLoop loop(task, run_key, journal, progress);
  loop.run(workers);
  return loop.result();
}

}  // namespace thimble
