// Session: the mutable half of the runtime. Invariant: the cache holds the first n_computed_ tokens of the timeline,
// and when n_computed_ equals its length, logits_ belongs to the last of them. next() leaves its token uncomputed, so
// that the last token of an answer costs nothing; whoever needs logits computes what is missing first.
#include <algorithm>

#include "base/error.h"
#include "runtime/engine.h"

namespace thimble {

namespace {

constexpr int64_t kDefaultContext = 4096;

int64_t choose_context(const Engine& engine, int64_t n_ctx) {
  const int64_t trained = engine.config().n_ctx_train;
  if (n_ctx == 0) return std::min(trained, kDefaultContext);
  if (n_ctx < 1 || n_ctx > trained) {
    fail(ErrorCode::invalid_argument, "{}: context: found {} tokens, expected 1 to {}, the trained context",
         engine.gguf().source(), n_ctx, trained);
  }
  return n_ctx;
}

}  // namespace

Session::Session(std::shared_ptr<const Engine> engine, const SessionOptions& options)
    : engine_(std::move(engine)),
      cache_(engine_->config(), options.kv, choose_context(*engine_, options.n_ctx)),
      forward_(engine_->model(), engine_->pool(), std::min(options.n_batch, cache_.n_ctx()), cache_.n_ctx()),
      sampler_(options.sampling, engine_->config().n_vocab) {
  tokens_.reserve(static_cast<size_t>(cache_.n_ctx()));
  logits_.reserve(static_cast<size_t>(engine_->config().n_vocab));
}

uint64_t Session::memory_bytes() const noexcept {
  return cache_.bytes() + forward_.scratch_bytes();
}

void Session::check_tokens(std::span<const TokenId> tokens, size_t kept) const {
  if (tokens.empty()) fail(ErrorCode::invalid_argument, "tokens: found none, expected at least one");
  for (const TokenId id : tokens) {
    if (id >= 0 && id < engine_->config().n_vocab) continue;
    fail(ErrorCode::invalid_argument, "tokens: found id {}, expected 0 to {}", id, engine_->config().n_vocab - 1);
  }
  const uint64_t wanted = kept + tokens.size();
  if (wanted > static_cast<uint64_t>(n_ctx())) {
    fail(ErrorCode::resource_exhausted, "context: {} tokens do not fit the context of {} tokens", wanted, n_ctx());
  }
}

void Session::check_cancelled(const Task& task) const {
  if (cancel_.cancelled() || task.cancelled()) fail(ErrorCode::cancelled, "session: cancelled");
}

// Computes the timeline's missing tokens in chunks. After an error the timeline is cut to what was computed, but never
// below `keep` tokens.
void Session::compute(size_t keep, const Task& task) {
  const std::span<const TokenId> all(tokens_);
  const auto total = static_cast<int64_t>(all.size());
  const int64_t first = n_computed_;
  try {
    while (n_computed_ < total) {
      check_cancelled(task);
      const int64_t n = std::min(forward_.n_batch(), total - n_computed_);
      const bool last = n_computed_ + n == total;
      const auto chunk = all.subspan(static_cast<size_t>(n_computed_), static_cast<size_t>(n));
      const auto logits = forward_.run(chunk, n_computed_, cache_, last ? LogitsFor::last : LogitsFor::none);
      n_computed_ += n;
      if (last) logits_.assign(logits.begin(), logits.end());
      task.report(static_cast<uint64_t>(n_computed_ - first), static_cast<uint64_t>(total - first), "prompt");
    }
  } catch (...) {
    tokens_.resize(std::max(keep, static_cast<size_t>(n_computed_)));
    // Logits of the last computed token were not asked for: computing that token again gives them.
    if (static_cast<size_t>(n_computed_) == tokens_.size() && n_computed_ < total && n_computed_ > 0) --n_computed_;
    throw;
  }
}

void Session::set_prompt(std::span<const TokenId> tokens, const Task& task) {
  check_tokens(tokens, 0);
  const size_t limit = std::min(tokens.size(), tokens_.size());
  size_t common = 0;
  while (common < limit && tokens[common] == tokens_[common]) ++common;
  // The last token is always computed: its logits are what the caller wants.
  const size_t reused = std::min({common, static_cast<size_t>(n_computed_), tokens.size() - 1});
  tokens_.resize(common);
  tokens_.insert(tokens_.end(), tokens.begin() + static_cast<std::ptrdiff_t>(common), tokens.end());
  n_computed_ = static_cast<int64_t>(reused);
  reused_ = n_computed_;
  compute(reused, task);
}

void Session::feed(std::span<const TokenId> tokens, const Task& task) {
  const size_t old_size = tokens_.size();
  check_tokens(tokens, old_size);
  tokens_.insert(tokens_.end(), tokens.begin(), tokens.end());
  compute(old_size, task);
}

std::optional<TokenId> Session::next() {
  if (tokens_.empty()) fail(ErrorCode::invalid_argument, "session: next() before any token was fed");
  if (static_cast<int64_t>(tokens_.size()) >= n_ctx()) {
    fail(ErrorCode::resource_exhausted, "context: the context of {} tokens is full", n_ctx());
  }
  check_cancelled({});
  compute(tokens_.size(), {});
  const TokenId id = sampler_.sample(logits_, tokens_);
  tokens_.push_back(id);
  if (engine_->tokenizer().is_end_of_generation(id)) return std::nullopt;
  return id;
}

void Session::score(std::span<const TokenId> tokens, FunctionRef<void(int64_t, std::span<const float>)> sink,
                    const Task& task) {
  check_tokens(tokens, 0);
  reset();
  feed_and_score(tokens, sink, task);
}

void Session::feed_and_score(std::span<const TokenId> tokens, FunctionRef<void(int64_t, std::span<const float>)> sink,
                             const Task& task) {
  check_tokens(tokens, tokens_.size());
  compute(tokens_.size(), task);  // what next() may have left
  // At most 64 MiB of logits at a time: a vocabulary of 150,000 would want 150 MB for 256 tokens.
  constexpr int64_t kMaxLogits = int64_t{16} << 20;
  const auto n_vocab = static_cast<size_t>(engine_->config().n_vocab);
  const int64_t step = std::clamp<int64_t>(kMaxLogits / engine_->config().n_vocab, 1, forward_.n_batch());
  const auto total = static_cast<int64_t>(tokens.size());
  for (int64_t done = 0; done < total;) {
    check_cancelled(task);
    const int64_t n = std::min(step, total - done);
    const auto chunk = tokens.subspan(static_cast<size_t>(done), static_cast<size_t>(n));
    const auto logits = forward_.run(chunk, n_computed_, cache_, LogitsFor::all);
    for (int64_t i = 0; i < n; ++i) {
      sink(done + i, logits.subspan(static_cast<size_t>(i) * n_vocab, n_vocab));
    }
    tokens_.insert(tokens_.end(), chunk.begin(), chunk.end());
    n_computed_ += n;
    done += n;
    logits_.assign(logits.end() - static_cast<std::ptrdiff_t>(n_vocab), logits.end());
    task.report(static_cast<uint64_t>(done), static_cast<uint64_t>(total), "score");
  }
}

void Session::reset() {
  tokens_.clear();
  logits_.clear();
  n_computed_ = 0;
  reused_ = 0;
}

void Session::set_sampling(const SamplingParams& params) {
  sampler_ = Sampler(params, engine_->config().n_vocab);
}

}  // namespace thimble
