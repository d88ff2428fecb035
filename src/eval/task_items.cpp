// The loop over the items of a task: journal, workers, scores. Knows nothing of models.
#include <mutex>
#include <numeric>

#include "base/error.h"
#include "base/hash.h"
#include "base/json.h"
#include "eval/task_run.h"

namespace thimble {

namespace {

std::optional<Answer> recall(const Journal* journal, const std::string& key) {
  const std::optional<std::string> text = journal == nullptr ? std::nullopt : journal->find(key);
  if (!text) return std::nullopt;
  const std::string source = "journal entry " + key;
  const Json json = parse_json(*text, source);
  const JsonObject entry(json, source);
  return Answer{entry.string("answer"), entry.boolean("truncated", false)};
}

// An answer may hold broken UTF-8 only where the model said U+FFFD: the decoder sees to that.
void keep_answer(Journal& journal, const std::string& key, const Answer& answer) {
  journal.append(key, Json{{"answer", answer.text}, {"truncated", answer.truncated}}.dump());
}

std::vector<size_t> selection(const TaskSet& task, const std::optional<std::vector<size_t>>& only) {
  if (only) return *only;
  std::vector<size_t> all(task.items.size());
  std::iota(all.begin(), all.end(), size_t{0});
  return all;
}

class ItemLoop {
 public:
  ItemLoop(const TaskSet& task, const TaskRunSettings& settings, const std::string& run_key, const Task& progress)
      : task_(task), journal_(settings.journal), progress_(progress), items_(selection(task, settings.only)) {
    answers_.resize(task.items.size());
    keys_.resize(task.items.size());
    for (const size_t i : items_) {
      keys_[i] = answer_key(task, task.items[i], run_key);
      answers_[i] = recall(journal_, keys_[i]);
      if (!answers_[i]) todo_.push_back(i);
    }
  }

  void run(std::span<const AnswerWorker> workers) {
    std::vector<ItemWorker> dealt;
    for (const AnswerWorker& worker : workers) {
      dealt.emplace_back([this, &worker](TakeItem take) {
        const auto take_or_stop = [&] {
          progress_.check(task_.name);
          return take();
        };
        worker(take_or_stop, [this](size_t i, Answer answer) { finish(i, std::move(answer)); });
      });
    }
    deal_items(todo_, dealt);
  }

  TaskResult result() {
    TaskResult out{task_.name, task_.primary, {}};
    for (const size_t i : items_) {
      out.items.push_back(score_item(task_, task_.items[i], std::move(answers_[i]->text), answers_[i]->truncated));
    }
    return out;
  }

 private:
  void finish(size_t i, Answer answer) {
    if (journal_ != nullptr) keep_answer(*journal_, keys_[i], answer);
    const std::lock_guard lock(mutex_);
    answers_[i] = std::move(answer);
    ++done_;
    progress_.report(items_.size() - todo_.size() + done_, items_.size(), task_.name);
  }

  const TaskSet& task_;
  Journal* journal_;
  const Task& progress_;
  std::vector<size_t> items_;
  std::vector<std::string> keys_;
  std::vector<std::optional<Answer>> answers_;
  std::vector<size_t> todo_;
  std::mutex mutex_;  // answers_, done_ and the progress callback
  size_t done_ = 0;
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

std::string answer_key(const TaskSet& task, const TaskItem& item, const std::string& run_key) {
  Json parts = {run_key, task.max_tokens, task.stop};
  for (const ChatMessage& m : task_messages(task, item)) parts.push_back({m.role, m.content});
  return fmt::format("task/{}/{}/{}", task.name, item.id, content_hash(parts.dump()));
}

std::vector<size_t> unanswered(const TaskSet& task, const std::string& run_key, const Journal& journal,
                               const std::optional<std::vector<size_t>>& only) {
  std::vector<size_t> out;
  for (const size_t i : selection(task, only)) {
    if (!journal.find(answer_key(task, task.items[i], run_key))) out.push_back(i);
  }
  return out;
}

AnswerSink answers_into(Journal& journal, const TaskSet& task, const std::string& run_key) {
  return [&journal, &task, run_key](size_t item, const Answer& answer) {
    const std::string key = answer_key(task, task.items[item], run_key);
    if (!journal.find(key)) keep_answer(journal, key, answer);
  };
}

TaskResult score_journal(const TaskSet& task, const std::string& run_key, const Journal& journal,
                         const std::optional<std::vector<size_t>>& only) {
  TaskResult out{task.name, task.primary, {}};
  for (const size_t i : selection(task, only)) {
    std::optional<Answer> answer = recall(&journal, answer_key(task, task.items[i], run_key));
    if (!answer) {
      fail(ErrorCode::not_found, "{}: item '{}': found no answer in the journal, expected one", task.name,
           task.items[i].id);
    }
    out.items.push_back(score_item(task, task.items[i], std::move(answer->text), answer->truncated));
  }
  return out;
}

TaskResult run_items(const TaskSet& task, std::span<const AnswerWorker> workers, const TaskRunSettings& settings,
                     const std::string& run_key, const Task& progress) {
  if (workers.empty()) fail(ErrorCode::invalid_argument, "{}: found no engine to run on, expected one", task.name);
  ItemLoop loop(task, settings, run_key, progress);
  loop.run(workers);
  return loop.result();
}

TaskResult run_items(const TaskSet& task, std::span<const Answerer> workers, const std::string& run_key,
                     Journal* journal, const Task& progress) {
  std::vector<AnswerWorker> one_by_one;
  for (const Answerer& answer : workers) {
    one_by_one.emplace_back([&answer](TakeItem take, GreedyDecoder::Finish finish) {
      while (const std::optional<size_t> i = take()) finish(*i, answer(*i));
    });
  }
  TaskRunSettings settings;
  settings.journal = journal;
  return run_items(task, one_by_one, settings, run_key, progress);
}

}  // namespace thimble
