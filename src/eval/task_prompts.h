// Prompts of a task as tokens, and how they are fed so that a start they share is computed once.
#pragma once

#include <vector>

#include "runtime/engine.h"
#include "tasks/task.h"

namespace thimble {

struct TaskPrompts {
  std::vector<std::vector<TokenId>> tokens;  // of every item, in their order
  size_t longest = 0;                        // tokens
};

/// Applies the chat template to every item. Errors: as Engine::encode_chat; corrupt for a prompt without tokens.
TaskPrompts encode_prompts(const Engine& engine, const TaskSet& task);

/// Options of sessions that answer any item: context as the longest needs, or `n_ctx` where it is not 0. Errors:
/// resource_exhausted, naming the first item that does not fit `n_ctx`, or the trained context.
SessionOptions task_session_options(const Engine& engine, const TaskSet& task, const TaskPrompts& prompts,
                                    int64_t n_ctx, ops::KvType kv);

/// Makes the timeline the first `n` tokens of prompt `index`. What the session has of the shared start is kept.
void feed_prompt(Session& session, const TaskPrompts& prompts, size_t index, size_t n, const Task& cancel);

}  // namespace thimble
