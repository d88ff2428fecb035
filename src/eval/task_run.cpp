// Greedy answers of engines to the items of a task.
#include "eval/task_run.h"

#include <algorithm>
#include <deque>

#include "base/error.h"
#include "base/json.h"
#include "eval/task_prompts.h"

namespace thimble {

std::string answers_run_key(const std::string& model_key, std::string_view chat_template, ops::KvType kv) {
  return Json{model_key, chat_template, static_cast<int>(kv)}.dump();
}

TaskResult run_task(std::span<const std::shared_ptr<const Engine>> engines, const TaskSet& task,
                    const TaskRunSettings& settings, const Task& progress, const AfterAnswer& after) {
  if (engines.empty()) fail(ErrorCode::invalid_argument, "{}: found no engine to run on, expected one", task.name);
  const Engine& engine = *engines.front();
  const TaskPrompts prompts = encode_prompts(engine, task);
  const SessionOptions options = task_session_options(engine, task, prompts, settings.n_ctx, settings.kv);
  const size_t n_batch = settings.n_batch > 0 ? std::min(settings.n_batch, static_cast<size_t>(options.n_batch))
                                              : sensible_batch(engine, options, engines.size());
  std::deque<GreedyDecoder> decoders;  // never moves: workers point at theirs
  std::vector<AnswerWorker> workers;
  for (const std::shared_ptr<const Engine>& e : engines) {
    GreedyDecoder& decoder = decoders.emplace_back(e, task, prompts, options, n_batch);
    workers.emplace_back(
        [&decoder, &progress, &after, n = decoders.size() - 1](TakeItem take, GreedyDecoder::Finish finish) {
          const auto answered = [&](size_t item, Session& session) {
            if (after) after(n, item, session);
          };
          decoder.run(
              take, [](size_t, TokenId, std::span<const float>) {}, answered, finish, progress);
        });
  }
  const std::string run_key =
      answers_run_key(settings.model_key, chat_template_name(engine.chat_template()), settings.kv);
  return run_items(task, workers, settings, run_key, progress);
}

TaskResult run_task(const std::shared_ptr<const Engine>& engine, const TaskSet& task, ops::KvType kv, int64_t n_ctx,
                    const std::string& model_key, Journal* journal, const Task& progress) {
  TaskRunSettings settings;
  settings.kv = kv;
  settings.n_ctx = n_ctx;
  settings.model_key = model_key;
  settings.journal = journal;
  return run_task(std::span(&engine, 1), task, settings, progress);
}

}  // namespace thimble
