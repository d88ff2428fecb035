// One forward step for several sessions, through the buffers of the first.
#include "runtime/decode_group.h"

#include "base/error.h"

namespace thimble {

DecodeGroup::DecodeGroup(size_t max_sessions) : max_sessions_(max_sessions) {
  members_.reserve(max_sessions);
  tokens_.reserve(max_sessions);
  positions_.reserve(max_sessions);
  caches_.reserve(max_sessions);
}

void DecodeGroup::check(std::span<Session* const> sessions) const {
  const size_t limit = std::min(max_sessions_, static_cast<size_t>(sessions.front()->forward_.n_batch()));
  if (sessions.size() > limit) {
    fail(ErrorCode::invalid_argument, "decode group: found {} sessions, expected at most {}", sessions.size(), limit);
  }
  for (const Session* s : sessions) {
    if (&s->engine() != &sessions.front()->engine() || s->n_ctx() != sessions.front()->n_ctx()) {
      fail(ErrorCode::invalid_argument,
           "decode group: found sessions of different engines or contexts, expected the same of all");
    }
  }
}

void DecodeGroup::compute(std::span<Session* const> sessions) {
  if (sessions.empty()) return;
  check(sessions);
  members_.clear();
  tokens_.clear();
  positions_.clear();
  caches_.clear();
  for (Session* s : sessions) {
    if (s->n_computed_ + 1 != static_cast<int64_t>(s->tokens_.size())) continue;
    members_.push_back(s);
    tokens_.push_back(s->tokens_.back());
    positions_.push_back(s->n_computed_);
    caches_.push_back(&s->cache_);
  }
  if (members_.size() < 2) return;
  const std::span<const float> logits = sessions.front()->forward_.run_each(tokens_, positions_, caches_);
  const size_t n_vocab = logits.size() / members_.size();
  for (size_t i = 0; i < members_.size(); ++i) {
    const auto row = logits.subspan(i * n_vocab, n_vocab);
    members_[i]->logits_.assign(row.begin(), row.end());
    ++members_[i]->n_computed_;
  }
}

}  // namespace thimble
