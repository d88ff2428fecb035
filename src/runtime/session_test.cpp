// Sessions on a tiny random model: reuse, limits, cancellation and sharing of one engine by threads.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <thread>

#include "base/error.h"
#include "runtime/engine.h"
#include "runtime/test_tiny_engine.h"

namespace thimble {
namespace {

const std::vector<TokenId> kPrompt = {1, 17, 200, 33, 33, 90, 5, 263, 4, 120, 64, 71};

SessionOptions options(int64_t n_ctx = 64, int64_t n_batch = 4) {
  SessionOptions o;
  o.n_ctx = n_ctx;
  o.n_batch = n_batch;
  return o;
}

void expect_error(ErrorCode code, const std::function<void()>& body) {
  try {
    body();
    ADD_FAILURE() << "no error";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), code) << e.what();
  }
}

std::vector<TokenId> timeline(const Session& session) {
  return {session.tokens().begin(), session.tokens().end()};
}

// Logits from different chunkings differ by the order of float additions only.
void expect_close(std::span<const float> a, std::span<const float> b) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) ASSERT_NEAR(a[i], b[i], 1e-4) << i;
}

std::vector<TokenId> generate(Session& session, int n) {
  for (int i = 0; i < n; ++i) session.next();
  return timeline(session);
}

TEST(Engine, DefaultsAndErrors) {
  const TinyEngine tiny(TensorType::f32, 1);
  EXPECT_EQ(tiny.engine->pool().n_threads(), 1);
  EXPECT_EQ(tiny.engine->config().n_vocab, tiny.engine->tokenizer().n_vocab());
  expect_error(ErrorCode::not_found, [&] { tiny.engine->chat_template(); });
  EngineOptions with_template;
  with_template.chat_template = ChatTemplate::zephyr;
  const std::span<const std::byte> image(tiny.model.image.data(), tiny.model.image.size());
  EXPECT_EQ(Engine::from_gguf(GgufFile::parse(image, "tiny"), with_template)->chat_template(), ChatTemplate::zephyr);
  EngineOptions threads;
  threads.n_threads = -1;
  expect_error(ErrorCode::invalid_argument, [&] { Engine::from_gguf(GgufFile::parse(image, "tiny"), threads); });
  expect_error(ErrorCode::not_found, [] { Engine::open("/no/such/file.gguf", {}); });
}

TEST(Session, GreedyTokensAreTheArgMaxOfFreshLogits) {
  const TinyEngine tiny;
  Session session(tiny.engine, options());
  session.feed(kPrompt);
  for (int i = 0; i < 10; ++i) {
    const std::vector<TokenId> before = timeline(session);
    Session fresh(tiny.engine, options(64, 64));
    fresh.feed(before);
    session.next();
    EXPECT_EQ(session.tokens().back(), argmax(fresh.logits()));
    expect_close(session.logits(), fresh.logits());
  }
}

TEST(Session, PromptsReuseTheCommonPrefix) {
  const TinyEngine tiny;
  Session session(tiny.engine, options());
  session.set_prompt(kPrompt);
  EXPECT_EQ(session.reused_tokens(), 0);
  std::vector<TokenId> longer = generate(session, 3);
  EXPECT_EQ(longer.size(), kPrompt.size() + 3);
  longer.insert(longer.end(), {7, 8, 9});
  session.set_prompt(longer);
  // The third generated token was never computed.
  EXPECT_EQ(session.reused_tokens(), static_cast<int64_t>(kPrompt.size() + 2));
  EXPECT_EQ(timeline(session), longer);
  Session fresh(tiny.engine, options());
  fresh.set_prompt(longer);
  expect_close(session.logits(), fresh.logits());

  std::vector<TokenId> other = kPrompt;
  other[5] = 91;
  session.set_prompt(other);
  EXPECT_EQ(session.reused_tokens(), 5);
  fresh.reset();
  fresh.set_prompt(other);
  expect_close(session.logits(), fresh.logits());

  session.set_prompt(other);  // the same again: only its last token is computed
  EXPECT_EQ(session.reused_tokens(), static_cast<int64_t>(other.size()) - 1);
  expect_close(session.logits(), fresh.logits());

  const std::vector<TokenId> shorter(other.begin(), other.begin() + 4);
  session.set_prompt(shorter);
  fresh.set_prompt(shorter);
  EXPECT_EQ(timeline(session), shorter);
  expect_close(session.logits(), fresh.logits());
}

TEST(Session, ContextLimitIsAnErrorThatChangesNothing) {
  const TinyEngine tiny;
  Session session(tiny.engine, options(16));
  session.feed(kPrompt);
  const std::vector<TokenId> long_prompt(17, 5);
  expect_error(ErrorCode::resource_exhausted, [&] { session.set_prompt(long_prompt); });
  expect_error(ErrorCode::resource_exhausted, [&] { session.feed(std::vector<TokenId>(5, 5)); });
  EXPECT_EQ(timeline(session), kPrompt);
  Session fresh(tiny.engine, options(16));
  fresh.feed(kPrompt);
  EXPECT_EQ(generate(session, 4), generate(fresh, 4));
  EXPECT_EQ(session.tokens().size(), 16u);
  const std::vector<TokenId> full = timeline(session);
  expect_error(ErrorCode::resource_exhausted, [&] { session.next(); });
  EXPECT_EQ(timeline(session), full);
  session.set_prompt(std::vector<TokenId>(16, 5));  // exactly full is fine
  expect_error(ErrorCode::resource_exhausted, [&] { session.next(); });
}

TEST(Session, InvalidArgumentsAreErrorsThatChangeNothing) {
  const TinyEngine tiny;
  expect_error(ErrorCode::invalid_argument, [&] { Session(tiny.engine, options(129)); });
  expect_error(ErrorCode::invalid_argument, [&] { Session(tiny.engine, options(-1)); });
  expect_error(ErrorCode::invalid_argument, [&] { Session(tiny.engine, options(64, 0)); });
  SessionOptions nan = options();
  nan.sampling.temperature = NAN;
  expect_error(ErrorCode::invalid_argument, [&] { Session(tiny.engine, nan); });
  EXPECT_EQ(Session(tiny.engine, options(0)).n_ctx(), 128);  // trained, below 4,096

  Session session(tiny.engine, options());
  expect_error(ErrorCode::invalid_argument, [&] { session.next(); });
  session.feed(kPrompt);
  for (const TokenId bad : {-1, 264, INT32_MAX, INT32_MIN}) {
    expect_error(ErrorCode::invalid_argument, [&] { session.feed(std::vector<TokenId>{5, bad}); });
    expect_error(ErrorCode::invalid_argument, [&] { session.set_prompt(std::vector<TokenId>{bad}); });
  }
  expect_error(ErrorCode::invalid_argument, [&] { session.feed({}); });
  expect_error(ErrorCode::invalid_argument, [&] { session.set_prompt({}); });
  EXPECT_EQ(timeline(session), kPrompt);
}

TEST(Session, CancelFromAnotherThreadStopsWithinOneChunk) {
  const TinyEngine tiny;
  Session session(tiny.engine, options());
  Task task;
  uint64_t chunks = 0;
  task.progress = [&](uint64_t, uint64_t, std::string_view) {
    // After the second chunk another thread cancels; joining it makes the order certain.
    if (++chunks == 2) std::thread([&] { session.cancel(); }).join();
  };
  expect_error(ErrorCode::cancelled, [&] { session.feed(kPrompt, task); });
  EXPECT_EQ(chunks, 2u);
  EXPECT_EQ(timeline(session), std::vector<TokenId>(kPrompt.begin(), kPrompt.begin() + 8));
  expect_error(ErrorCode::cancelled, [&] { session.next(); });

  session.clear_cancel();
  session.set_prompt(kPrompt);
  EXPECT_GE(session.reused_tokens(), 7);  // the computed part was kept
  Session fresh(tiny.engine, options());
  fresh.feed(kPrompt);
  expect_close(session.logits(), fresh.logits());
}

TEST(Session, PrefillReportsEveryChunk) {
  const TinyEngine tiny;
  Session session(tiny.engine, options());  // 12 tokens in chunks of 4
  std::vector<uint64_t> done;
  Task task;
  task.progress = [&](uint64_t n, uint64_t total, std::string_view label) {
    done.push_back(n);
    EXPECT_EQ(total, kPrompt.size());
    EXPECT_EQ(label, "prompt");
  };
  session.feed(kPrompt, task);
  EXPECT_EQ(done, (std::vector<uint64_t>{4, 8, 12}));
}

TEST(Session, NextAfterACancelledFeedContinuesFromWhatWasComputed) {
  const TinyEngine tiny;
  Session session(tiny.engine, options());
  CancelToken cancel;
  Task task;
  task.cancel = &cancel;
  task.progress = [&](uint64_t, uint64_t, std::string_view) { cancel.cancel(); };
  expect_error(ErrorCode::cancelled, [&] { session.feed(kPrompt, task); });
  Session fresh(tiny.engine, options());
  fresh.feed(std::span(kPrompt).first(4));
  EXPECT_EQ(generate(session, 5), generate(fresh, 5));
  // Cancelled before anything was computed: the timeline, with its uncomputed last token, stays.
  const std::vector<TokenId> before = timeline(session);
  expect_error(ErrorCode::cancelled, [&] { session.feed(kPrompt, task); });
  EXPECT_EQ(timeline(session), before);
  EXPECT_EQ(generate(session, 3), generate(fresh, 3));
}

TEST(Session, ScoreGivesTheLogitsOfEveryPosition) {
  const TinyEngine tiny;
  Session session(tiny.engine, options());
  session.feed(std::vector<TokenId>{9, 9});
  int64_t expected = 0;
  session.score(kPrompt, [&](int64_t position, std::span<const float> logits) {
    EXPECT_EQ(position, expected++);
    Session fresh(tiny.engine, options());
    fresh.feed(std::span(kPrompt).first(static_cast<size_t>(position) + 1));
    expect_close(logits, fresh.logits());
  });
  EXPECT_EQ(expected, static_cast<int64_t>(kPrompt.size()));
  EXPECT_EQ(timeline(session), kPrompt);
  expect_error(ErrorCode::resource_exhausted,
               [&] { session.score(std::vector<TokenId>(65, 1), [](int64_t, std::span<const float>) {}); });
}

TEST(Session, SameSeedSameText) {
  const TinyEngine tiny;
  SessionOptions sampled = options();
  sampled.sampling.temperature = 1.0f;
  sampled.sampling.seed = 7;
  const auto run = [&] {
    Session session(tiny.engine, sampled);
    session.feed(kPrompt);
    return generate(session, 20);
  };
  const auto first = run();
  EXPECT_EQ(run(), first);
  sampled.sampling.seed = 8;
  EXPECT_NE(run(), first);

  Session session(tiny.engine, sampled);
  sampled.sampling.seed = 7;
  session.set_sampling(sampled.sampling);
  session.feed(kPrompt);
  EXPECT_EQ(generate(session, 20), first);
}

TEST(Session, SessionsShareAnEngineAcrossThreads) {
  const TinyEngine tiny(TensorType::f32, 2);
  const auto run = [&](TokenId start, ops::KvType kv) {
    SessionOptions o = options();
    o.kv = kv;
    Session session(tiny.engine, o);
    session.feed(std::vector<TokenId>{1, start, 50});
    return generate(session, 12);
  };
  std::vector<std::vector<TokenId>> want(4), got(4);
  const auto kv_of = [](size_t i) { return i % 2 == 0 ? ops::KvType::f16 : ops::KvType::int8; };
  for (size_t i = 0; i < want.size(); ++i) want[i] = run(static_cast<TokenId>(20 + i), kv_of(i));
  std::vector<std::thread> threads;
  for (size_t i = 0; i < got.size(); ++i) {
    threads.emplace_back([&, i] { got[i] = run(static_cast<TokenId>(20 + i), kv_of(i)); });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(got, want);
}

TEST(Session, Int8CacheTakesLessMemory) {
  const TinyEngine tiny;
  SessionOptions o = options();
  const uint64_t halves = Session(tiny.engine, o).memory_bytes();
  o.kv = ops::KvType::int8;
  const uint64_t int8 = Session(tiny.engine, o).memory_bytes();
  // 64 positions, 2 layers, keys and values, 2 heads: 16 halves against 16 bytes and a float.
  EXPECT_EQ(halves - int8, 64u * 2 * 2 * 2 * (32 - 20));
}

TEST(Session, EndOfGenerationIsAppendedAndReported) {
  const TinyEngine tiny;
  // Flat sampling from 264 tokens meets </s> sooner or later; seeds make it the same time always.
  SessionOptions o = options(128);
  o.sampling.temperature = 5.0f;
  o.sampling.top_k = 0;
  o.sampling.top_p = 1.0f;
  o.sampling.min_p = 0.0f;
  bool ended = false;
  for (uint64_t seed = 0; seed < 20 && !ended; ++seed) {
    o.sampling.seed = seed;
    Session session(tiny.engine, o);
    session.feed(kPrompt);
    for (int i = 0; i < 100 && !ended; ++i) {
      const std::optional<TokenId> token = session.next();
      EXPECT_EQ(token.has_value(), !tiny.engine->tokenizer().is_end_of_generation(session.tokens().back()));
      ended = !token;
    }
  }
  EXPECT_TRUE(ended);
}

}  // namespace
}  // namespace thimble
