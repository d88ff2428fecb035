#include "eval/task_prompts.h"

#include <algorithm>

#include "base/error.h"

namespace thimble {

TaskPrompts encode_prompts(const Engine& engine, const TaskSet& task) {
  TaskPrompts out;
  for (const TaskItem& item : task.items) {
    out.tokens.push_back(engine.encode_chat(task_messages(task, item)));
    const std::vector<TokenId>& t = out.tokens.back();
    if (t.empty()) fail(ErrorCode::corrupt, "{}: item '{}': its prompt has no tokens", task.name, item.id);
    out.longest = std::max(out.longest, t.size());
  }
  return out;
}

SessionOptions task_session_options(const Engine& engine, const TaskSet& task, const TaskPrompts& prompts,
                                    int64_t n_ctx, ops::KvType kv) {
  const int64_t limit = n_ctx > 0 ? n_ctx : engine.config().n_ctx_train;
  for (size_t i = 0; i < prompts.tokens.size(); ++i) {
    const int64_t needed = static_cast<int64_t>(prompts.tokens[i].size()) + task.max_tokens;
    if (needed > limit) {
      fail(ErrorCode::resource_exhausted,
           "{}: item '{}': {} tokens of prompt and {} to generate do not fit the context of {} tokens", task.name,
           task.items[i].id, prompts.tokens[i].size(), task.max_tokens, limit);
    }
  }
  SessionOptions options;
  options.n_ctx = n_ctx > 0 ? n_ctx : static_cast<int64_t>(prompts.longest) + task.max_tokens;
  options.n_batch = std::min<int64_t>(options.n_batch, options.n_ctx);
  options.kv = kv;
  return options;
}

void feed_prompt(Session& session, const TaskPrompts& prompts, size_t index, size_t n, const Task& cancel) {
  if (n == 0) return session.reset();
  // set_prompt() keeps what the timeline has in common with this prompt: at least the start that all items share, from
  // the second item on. Logits do not depend on how tokens are dealt to calls (ops/ops.h, kernels/matmul_kernel.h), so
  // neither do answers on which item came before.
  session.set_prompt(std::span<const TokenId>(prompts.tokens[index]).first(n), cancel);
}

}  // namespace thimble
