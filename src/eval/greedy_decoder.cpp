// Free slots take new items; all busy slots advance by one step.
#include "eval/greedy_decoder.h"

#include <algorithm>

#include "base/checked.h"

namespace thimble {

namespace {

constexpr size_t kMaxBatch = 8;  // docs/EVALUATION.md, "Running", has the figures
constexpr uint64_t kMaxBytes = uint64_t{2} << 30;

// Where the first of the stop texts begins in `text`, or npos. `from`: nothing before it needs to be looked at.
size_t find_stop(const std::string& text, const std::vector<std::string>& stops, size_t from) {
  size_t at = std::string::npos;
  for (const std::string& stop : stops) {
    const size_t start = from < stop.size() ? 0 : from - stop.size();
    at = std::min(at, text.find(stop, start));
  }
  return at;
}

}  // namespace

size_t sensible_batch(const Engine& engine, const SessionOptions& options, size_t n_engines) noexcept {
  const ModelConfig& config = engine.config();
  const uint64_t cache = kv_bytes_per_token(config, options.kv) * static_cast<uint64_t>(options.n_ctx);
  const uint64_t buffers = forward_scratch_bytes(config, options.n_batch, options.n_ctx, engine.pool().n_threads());
  const uint64_t each = std::max<uint64_t>(checked_add(cache, buffers).value_or(UINT64_MAX), 1);
  const uint64_t limit = kMaxBytes / std::max<size_t>(n_engines, 1);
  return std::clamp<size_t>(limit / each, 1, std::min(kMaxBatch, static_cast<size_t>(options.n_batch)));
}

GreedyDecoder::GreedyDecoder(std::shared_ptr<const Engine> engine, const TaskSet& task, const TaskPrompts& prompts,
                             const SessionOptions& options, size_t n_batch)
    : engine_(std::move(engine)),
      task_(task),
      prompts_(prompts),
      options_(options),
      n_batch_(std::max<size_t>(n_batch, 1)),
      group_(n_batch_) {}

void GreedyDecoder::start(Slot& slot, size_t item, const Task& cancel) {
  slot.item = item;
  slot.text.emplace(engine_->tokenizer());
  slot.answer = {};
  slot.n_tokens = 0;
  feed_prompt(slot.session, prompts_, item, prompts_.tokens[item].size(), cancel);
}

// One more token of the answer; true when it is finished.
bool GreedyDecoder::step(Slot& slot, See see) {
  Answer& answer = slot.answer;
  answer.truncated = slot.n_tokens == task_.max_tokens;
  std::optional<TokenId> token;
  if (!answer.truncated) {
    token = slot.session.next();
    ++slot.n_tokens;
    see(*slot.item, slot.session.tokens().back(), slot.session.logits());
  }
  const size_t before = answer.text.size();
  answer.text += token ? slot.text->push(*token) : slot.text->finish();
  const size_t stop = find_stop(answer.text, task_.stop, before);
  if (stop != std::string::npos) {
    answer.text.resize(stop);
    answer.truncated = false;
    return true;
  }
  return !token;
}

void GreedyDecoder::run(TakeItem take, See see, After after, Finish finish, const Task& progress) {
  const Task cancel{{}, {}, progress.cancel};
  std::vector<Session*> busy;
  for (bool more = true;;) {
    for (size_t i = 0; more && i < n_batch_; ++i) {
      if (i < slots_.size() && slots_[i].item) continue;
      const std::optional<size_t> item = take();
      more = item.has_value();
      if (!more) break;
      if (i == slots_.size()) slots_.emplace_back(engine_, options_);
      start(slots_[i], *item, cancel);
    }
    busy.clear();
    for (Slot& slot : slots_) {
      if (slot.item) busy.push_back(&slot.session);
    }
    if (busy.empty()) return;
    group_.compute(busy);
    for (Slot& slot : slots_) {
      if (!slot.item) continue;
      cancel.check(task_.name);
      if (!step(slot, see)) continue;
      after(*slot.item, slot.session);
      finish(*slot.item, std::move(slot.answer));
      slot.item.reset();
    }
  }
}

}  // namespace thimble
