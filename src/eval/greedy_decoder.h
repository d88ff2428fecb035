// Greedy answers of one engine to the items of a task, several at a time: every step of the model makes one token of
// each, because a step costs the reading of all weights whether it makes one token or eight.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "eval/item_dealer.h"
#include "eval/task_prompts.h"
#include "runtime/decode_group.h"

namespace thimble {

struct Answer {
  std::string text;
  bool truncated = false;  // ended by the limit of tokens
};

/// Gets finished answers, from any thread.
using AnswerSink = std::function<void(size_t item, const Answer& answer)>;

/// Timelines of `options` that each of `n_engines` engines advances together: what pays on a CPU, as far as 2 GiB of
/// caches and buffers go for all of them. At least 1.
size_t sensible_batch(const Engine& engine, const SessionOptions& options, size_t n_engines) noexcept;

class GreedyDecoder {
 public:
  using Finish = FunctionRef<void(size_t item, Answer answer)>;
  /// Sees each chosen token, the end of the answer included, with the logits [n_vocab] it was chosen from.
  using See = FunctionRef<void(size_t item, TokenId token, std::span<const float> logits)>;

  /// Gets the timeline of a finished answer, which holds prompt and answer, before anything else uses it; may leave it
  /// in any state.
  using After = FunctionRef<void(size_t item, Session& session)>;

  /// `task` and `prompts` must outlive it. At most `n_batch` items (1 or more) are worked on at a time; timelines get
  /// memory when first used. Errors: as Session.
  GreedyDecoder(std::shared_ptr<const Engine> engine, const TaskSet& task, const TaskPrompts& prompts,
                const SessionOptions& options, size_t n_batch);

  /// Answers what `take` gives until it gives nothing. The answers do not depend on n_batch or on the order. Errors:
  /// as Session; cancelled; those of the callbacks.
  void run(TakeItem take, See see, After after, Finish finish, const Task& progress);

 private:
  // A timeline and the item it is working on.
  struct Slot {
    Slot(std::shared_ptr<const Engine> engine, const SessionOptions& options) : session(std::move(engine), options) {}
    Session session;
    std::optional<size_t> item = {};
    std::optional<StreamDecoder> text = {};
    Answer answer = {};
    int64_t n_tokens = 0;
  };
  void start(Slot& slot, size_t item, const Task& cancel);
  bool step(Slot& slot, See see);

  std::shared_ptr<const Engine> engine_;
  const TaskSet& task_;
  const TaskPrompts& prompts_;
  SessionOptions options_;
  size_t n_batch_;
  std::deque<Slot> slots_;  // never moves: sessions stay where they are
  DecodeGroup group_;
};

}  // namespace thimble
