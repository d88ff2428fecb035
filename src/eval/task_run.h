// Runs tasks on an engine greedily, item by item, through an append-only journal so that a killed run resumes.
// Answers do not depend on the order of items, on the number of workers, on how many items are decoded together or on
// what a killed run had already done: every logit has the same bits however tokens are dealt to calls.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "base/journal.h"
#include "base/progress.h"
#include "eval/greedy_decoder.h"
#include "runtime/engine.h"
#include "tasks/score.h"
#include "tasks/task.h"

namespace thimble {

struct TaskResult {
  std::string task;
  Metric primary;
  std::vector<ItemResult> items;
  double mean(Metric m) const noexcept;
  /// Primary scores of the items in points 0..100, in their order.
  std::vector<double> points() const;
  std::vector<std::string> clusters() const;
};

struct TaskRunSettings {
  ops::KvType kv = ops::KvType::f16;
  int64_t n_ctx = 0;                             // 0: what the longest item needs
  std::string model_key;                         // identifies model and settings in the journal
  Journal* journal = nullptr;                    // null: nothing is kept
  size_t n_batch = 0;                            // items decoded together by each engine; 0: what pays
  std::optional<std::vector<size_t>> only = {};  // items to answer and score, ascending; nothing: all
};

/// Generates (or takes from `journal`) an answer to every item and scores it. `model_key` identifies model and settings
/// in the journal. Errors: resource_exhausted when an item does not fit the context (item named), cancelled, io.
TaskResult run_task(const std::shared_ptr<const Engine>& engine, const TaskSet& task, ops::KvType kv, int64_t n_ctx,
                    const std::string& model_key, Journal* journal, const Task& progress = {});

/// Gets the timeline that answered an item, which holds prompt and answer and may be left in any state, before the
/// answer is kept. `engine`: number of its engine; called by one thread at a time for each engine.
using AfterAnswer = std::function<void(size_t engine, size_t item, Session& session)>;

/// As above with one thread of work per engine, all of the same model: small models decode faster as several
/// single-threaded engines than as one engine with several threads.
TaskResult run_task(std::span<const std::shared_ptr<const Engine>> engines, const TaskSet& task,
                    const TaskRunSettings& settings, const Task& progress = {}, const AfterAnswer& after = {});

/// What an answer depends on besides task and item: model, chat template and cache type, as one string.
std::string answers_run_key(const std::string& model_key, std::string_view chat_template, ops::KvType kv);
/// Key of an answer in a journal. References and metrics do not count: corrected ones need no new answers.
std::string answer_key(const TaskSet& task, const TaskItem& item, const std::string& run_key);
/// Items of `task` (of `only`, where given) that `journal` has no answer to.
std::vector<size_t> unanswered(const TaskSet& task, const std::string& run_key, const Journal& journal,
                               const std::optional<std::vector<size_t>>& only = {});
/// Puts the float model's answers, which are made anyhow as references, into `journal` as those of `run_key` unless it
/// has them, so that run_task finds them. `journal` and `task` must outlive the sink.
AnswerSink answers_into(Journal& journal, const TaskSet& task, const std::string& run_key);
/// Scores the answers in a journal; no model is needed. Errors: not_found when one is missing, naming the first item;
/// corrupt.
TaskResult score_journal(const TaskSet& task, const std::string& run_key, const Journal& journal,
                         const std::optional<std::vector<size_t>>& only = {});

/// Answers item number `index` of a task; called by one thread at a time.
using Answerer = std::function<Answer(size_t index)>;

/// The loop of run_task over any source of answers: journal first, then one thread per answerer.
/// `run_key` and the item's messages make the journal key.
TaskResult run_items(const TaskSet& task, std::span<const Answerer> workers, const std::string& run_key,
                     Journal* journal, const Task& progress);

/// Works on items until `take` gives none and hands each answer to `finish`.
using AnswerWorker = std::function<void(TakeItem take, GreedyDecoder::Finish finish)>;
/// As run_items, with workers that may hold several items at once; `run_key` goes where TaskRunSettings::model_key
/// does.
TaskResult run_items(const TaskSet& task, std::span<const AnswerWorker> workers, const TaskRunSettings& settings,
                     const std::string& run_key, const Task& progress);

}  // namespace thimble
