// Decoding several timelines of one engine together: one step reads the weights once for a token of each, which is what
// decoding is slow at. The logits are bit for bit those of each session alone.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "runtime/engine.h"

namespace thimble {

/// Buffers of steps over up to `max_sessions` sessions; used by one thread at a time.
class DecodeGroup {
 public:
  explicit DecodeGroup(size_t max_sessions);

  /// Computes, in one go, the token that next() left uncomputed in each of `sessions`, so that their next calls of
  /// next() only choose. Sessions with nothing or more than one token to compute are left to next(). All are of one
  /// engine and have the same context; none occurs twice; at most max_sessions and the prefill chunk of the first.
  /// Errors: invalid_argument when they are not, resource_exhausted (logits; nothing was computed).
  void compute(std::span<Session* const> sessions);

 private:
  void check(std::span<Session* const> sessions) const;
  size_t max_sessions_;
  std::vector<Session*> members_;
  std::vector<TokenId> tokens_;
  std::vector<int64_t> positions_;
  std::vector<KvCache*> caches_;
};

}  // namespace thimble
