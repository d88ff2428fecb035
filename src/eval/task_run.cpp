// Greedy answers of an engine to the items of a task.
#include "eval/task_run.h"

#include <algorithm>
#include <deque>

#include "base/error.h"
#include "base/json.h"

namespace thimble {

namespace {

// Token ids of every prompt, and what they have in common.
struct Prompts {
  std::vector<std::vector<TokenId>> tokens;
  size_t shared = 0;   // tokens at the start that all prompts have in common; less than the shortest prompt
  size_t longest = 0;  // tokens
};

Prompts encode_prompts(const Engine& engine, const TaskSet& task) {
  Prompts out;
  for (const TaskItem& item : task.items) {
    out.tokens.push_back(engine.encode_chat(task_messages(task, item)));
    const std::vector<TokenId>& t = out.tokens.back();
    if (t.empty()) fail(ErrorCode::corrupt, "{}: item '{}': its prompt has no tokens", task.name, item.id);
    out.longest = std::max(out.longest, t.size());
    const std::vector<TokenId>& first = out.tokens.front();
    const auto mismatch = std::mismatch(first.begin(), first.end(), t.begin(), t.end());
    const auto same = static_cast<size_t>(mismatch.first - first.begin());
    out.shared = out.tokens.size() == 1 ? t.size() - 1 : std::min({out.shared, same, t.size() - 1});
  }
  return out;
}

int64_t choose_context(const Engine& engine, const TaskSet& task, const Prompts& prompts, int64_t n_ctx) {
  const int64_t limit = n_ctx > 0 ? n_ctx : engine.config().n_ctx_train;
  for (size_t i = 0; i < prompts.tokens.size(); ++i) {
    const int64_t needed = static_cast<int64_t>(prompts.tokens[i].size()) + task.max_tokens;
    if (needed > limit) {
      fail(ErrorCode::resource_exhausted,
           "{}: item '{}': {} tokens of prompt and {} to generate do not fit the context of {} tokens", task.name,
           task.items[i].id, prompts.tokens[i].size(), task.max_tokens, limit);
    }
  }
  return n_ctx > 0 ? n_ctx : static_cast<int64_t>(prompts.longest) + task.max_tokens;
}

// Where the first of the stop texts begins in `text`, or npos. `from`: nothing before it needs to be looked at.
size_t find_stop(const std::string& text, const std::vector<std::string>& stops, size_t from) {
  size_t at = std::string::npos;
  for (const std::string& stop : stops) {
    const size_t start = from < stop.size() ? 0 : from - stop.size();
    at = std::min(at, text.find(stop, start));
  }
  return at;
}

// One session that answers items of one task.
class SessionAnswerer {
 public:
  SessionAnswerer(std::shared_ptr<const Engine> engine, const TaskSet& task, const Prompts& prompts,
                  const SessionOptions& options, const Task& progress)
      : task_(task), prompts_(prompts), cancel_{{}, {}, progress.cancel}, session_(std::move(engine), options) {}

  Answer answer(size_t index) {
    feed_prompt(prompts_.tokens[index]);
    StreamDecoder decoder(session_.engine().tokenizer());
    Answer out;
    for (int64_t n = 0;; ++n) {
      cancel_.check(task_.name);
      out.truncated = n == task_.max_tokens;
      const std::optional<TokenId> token = out.truncated ? std::nullopt : session_.next();
      const size_t before = out.text.size();
      out.text += token ? decoder.push(*token) : decoder.finish();
      const size_t stop = find_stop(out.text, task_.stop, before);
      if (stop != std::string::npos) {
        out.text.resize(stop);
        out.truncated = false;
        return out;
      }
      if (!token) return out;
    }
  }

 private:
  // The shared prefix is computed in one go, and its last token once more on its own: set_prompt() does that for every
  // later item, so it must be done for the first one too, or rounding could differ between a first and a later item.
  void feed_prompt(const std::vector<TokenId>& prompt) {
    const std::span<const TokenId> all(prompt);
    if (prompts_.shared == 0) {
      session_.reset();
      session_.set_prompt(all, cancel_);
      return;
    }
    if (session_.tokens().empty()) session_.set_prompt(all.first(prompts_.shared), cancel_);
    session_.set_prompt(all.first(prompts_.shared), cancel_);
    session_.feed(all.subspan(prompts_.shared), cancel_);
  }

  const TaskSet& task_;
  const Prompts& prompts_;
  Task cancel_;  // without progress: the item loop reports
  Session session_;
};

}  // namespace

TaskResult run_task(std::span<const std::shared_ptr<const Engine>> engines, const TaskSet& task,
                    const TaskRunSettings& settings, const Task& progress) {
  if (engines.empty()) fail(ErrorCode::invalid_argument, "{}: found no engine to run on, expected one", task.name);
  const Engine& engine = *engines.front();
  const Prompts prompts = encode_prompts(engine, task);
  SessionOptions options;
  options.n_ctx = choose_context(engine, task, prompts, settings.n_ctx);
  options.n_batch = std::min<int64_t>(options.n_batch, options.n_ctx);
  options.kv = settings.kv;
  std::deque<SessionAnswerer> sessions;  // never moves: answerers point at their session
  std::vector<Answerer> workers;
  for (const std::shared_ptr<const Engine>& e : engines) {
    SessionAnswerer& session = sessions.emplace_back(e, task, prompts, options, progress);
    workers.emplace_back([&session](size_t index) { return session.answer(index); });
  }
  const Json run = {settings.model_key, chat_template_name(engine.chat_template()), static_cast<int>(settings.kv)};
  return run_items(task, workers, run.dump(), settings.journal, progress);
}

TaskResult run_task(const std::shared_ptr<const Engine>& engine, const TaskSet& task, ops::KvType kv, int64_t n_ctx,
                    const std::string& model_key, Journal* journal, const Task& progress) {
  return run_task(std::span(&engine, 1), task, TaskRunSettings{kv, n_ctx, model_key, journal}, progress);
}

}  // namespace thimble
