// Sessions decoded together give bit for bit what each gives alone, whoever joins or leaves the group on the way.
#include "runtime/decode_group.h"

#include <gtest/gtest.h>

#include <deque>

#include "base/error.h"
#include "runtime/test_tiny_engine.h"

namespace thimble {
namespace {

std::vector<TokenId> prompt(size_t i) {
  std::vector<TokenId> out;
  for (size_t n = 0; n < 3 + 2 * i; ++n) out.push_back(static_cast<TokenId>((17 * n + 31 * i + 5) % 250 + 3));
  return out;
}

SessionOptions options(ops::KvType kv) {
  SessionOptions o;
  o.n_ctx = 64;
  o.kv = kv;
  return o;
}

TEST(DecodeGroup, LogitsAreBitForBitThoseOfEachSessionAlone) {
  for (const TensorType type : {TensorType::f32, TensorType::f16, TensorType::q8_0, TensorType::q4_0}) {
    for (const ops::KvType kv : {ops::KvType::f16, ops::KvType::int8}) {
      const TinyEngine tiny(type);
      constexpr size_t kSessions = 5;
      constexpr size_t kSteps = 8;
      std::deque<Session> sessions;
      for (size_t i = 0; i < kSessions; ++i) sessions.emplace_back(tiny.engine, options(kv)).feed(prompt(i));
      std::vector<std::vector<float>> got(kSessions);
      DecodeGroup group(kSessions);
      for (size_t step = 0; step < kSteps; ++step) {
        std::vector<Session*> members;
        // Session i takes part in the group in some steps and goes on alone in others.
        for (size_t i = 0; i < kSessions; ++i) {
          if ((step + i) % 4 != 0) members.push_back(&sessions[i]);
        }
        group.compute(members);
        for (size_t i = 0; i < kSessions; ++i) {
          (void)sessions[i].next();
          got[i].insert(got[i].end(), sessions[i].logits().begin(), sessions[i].logits().end());
        }
      }
      for (size_t i = 0; i < kSessions; ++i) {
        Session alone(tiny.engine, options(kv));
        alone.feed(prompt(i));
        std::vector<float> want;
        for (size_t step = 0; step < kSteps; ++step) {
          (void)alone.next();
          want.insert(want.end(), alone.logits().begin(), alone.logits().end());
        }
        EXPECT_EQ(got[i], want) << traits(type).name << ", session " << i;
      }
    }
  }
}

TEST(DecodeGroup, SessionsOfDifferentEnginesOrTooManyAreRefused) {
  const TinyEngine a(TensorType::f16), b(TensorType::f16);
  Session first(a.engine, options(ops::KvType::f16)), second(b.engine, options(ops::KvType::f16));
  DecodeGroup two(2), one(1);
  std::vector<Session*> both = {&first, &second};
  EXPECT_THROW(two.compute(both), Error);
  Session third(a.engine, options(ops::KvType::f16));
  both[1] = &third;
  EXPECT_THROW(one.compute(both), Error);
  EXPECT_NO_THROW(two.compute(both));  // nothing to compute yet
}

TEST(DecodeGroup, FeedAndScoreShowsWhatFeedingOneByOneShows) {
  const TinyEngine tiny(TensorType::q8_0);
  Session whole(tiny.engine, options(ops::KvType::f16)), single(tiny.engine, options(ops::KvType::f16));
  const std::vector<TokenId> start = prompt(2), rest = prompt(4);
  whole.feed(start);
  (void)whole.next();  // leaves a token to compute
  single.feed(start);
  (void)single.next();
  std::vector<std::vector<float>> got;
  whole.feed_and_score(rest, [&](int64_t i, std::span<const float> logits) {
    EXPECT_EQ(i, static_cast<int64_t>(got.size()));
    got.emplace_back(logits.begin(), logits.end());
  });
  ASSERT_EQ(got.size(), rest.size());
  for (size_t i = 0; i < rest.size(); ++i) {
    single.feed(std::span(&rest[i], 1));
    EXPECT_EQ(got[i], std::vector<float>(single.logits().begin(), single.logits().end())) << i;
  }
  EXPECT_EQ(whole.tokens().size(), start.size() + 1 + rest.size());
}

}  // namespace
}  // namespace thimble
