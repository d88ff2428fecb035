// Engine: a loaded model with its tokenizer and chat template, immutable and shared by threads.
// Session: one timeline on it (tokens, KV cache, sampler, cancellation), used by one thread at a time.
//
//   auto engine = Engine::open("model.gguf", {});
//   Session session(engine, {});
//   session.feed(engine->encode_chat({{"user", "Hello"}}));
//   while (auto token = session.next()) text += decoder.push(*token);
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/progress.h"
#include "base/thread_pool.h"
#include "format/gguf.h"
#include "model/model.h"
#include "runtime/sampler.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace thimble {

struct EngineOptions {
  int n_threads = 0;                          // 0: every usable processor
  std::optional<kernels::Isa> isa;            // forced instruction set; default: the best of this machine
  std::optional<ChatTemplate> chat_template;  // overrides the model's own
  PackOptions packing;                        // how weights are packed for the instruction set; default: into memory
  // Packed weights of another engine of the same file and instruction set, instead of a copy of its own.
  std::shared_ptr<const PackedWeights> packed;
};

class Engine {
 public:
  /// Loads `path`. `task` hears of packing. Errors: as GgufFile::open, Model, Tokenizer and load_packed.
  static std::shared_ptr<const Engine> open(const std::string& path, const EngineOptions& options,
                                            const Task& task = {});
  /// Takes a parsed file. `gguf`'s bytes must outlive the engine when it does not own them; packing such weights makes
  /// a second copy of them.
  static std::shared_ptr<const Engine> from_gguf(GgufFile gguf, const EngineOptions& options, const Task& task = {});

  const GgufFile& gguf() const noexcept { return gguf_; }
  const ModelConfig& config() const noexcept { return model_.config(); }
  const Model& model() const noexcept { return model_; }
  const Tokenizer& tokenizer() const noexcept { return tokenizer_; }
  ThreadPool& pool() const noexcept { return *pool_; }

  /// Errors: as detect_chat_template, when neither the model nor the options name a known template.
  ChatTemplate chat_template() const;
  /// Prompt tokens of a conversation, ending where the assistant answers.
  std::vector<TokenId> encode_chat(std::span<const ChatMessage> messages) const;

 private:
  Engine(GgufFile gguf, const EngineOptions& options, const Task& task);
  GgufFile gguf_;
  Model model_;
  Tokenizer tokenizer_;
  std::optional<ChatTemplate> chat_template_;
  std::unique_ptr<ThreadPool> pool_;
};

struct SessionOptions {
  int64_t n_ctx = 0;      // 0: min(trained context, 4096)
  int64_t n_batch = 256;  // prefill chunk: a cancel is seen after at most one chunk
  ops::KvType kv = ops::KvType::f16;
  SamplingParams sampling;
};

class Session {
 public:
  /// Errors: invalid_argument (n_ctx beyond the trained context, n_batch < 1, sampling out of range),
  /// resource_exhausted.
  Session(std::shared_ptr<const Engine> engine, const SessionOptions& options);

  const Engine& engine() const noexcept { return *engine_; }
  int64_t n_ctx() const noexcept { return cache_.n_ctx(); }
  /// Tokens of the timeline: everything fed and generated so far.
  std::span<const TokenId> tokens() const noexcept { return tokens_; }
  uint64_t memory_bytes() const noexcept;  // KV cache and activations

  /// Makes the timeline exactly `tokens` (not a view of this session's own timeline): the longest common prefix with
  /// the present one is kept, the rest computed. Logits of the last token are ready afterwards. Errors:
  /// invalid_argument (empty, id out of range), resource_exhausted (context limit, named; nothing changes), cancelled
  /// (the part computed is kept).
  void set_prompt(std::span<const TokenId> tokens, const Task& task = {});
  /// Appends tokens to the timeline. Errors: as set_prompt.
  void feed(std::span<const TokenId> tokens, const Task& task = {});
  /// Samples the next token, appends it and returns it; nothing when it ends the generation (the token is appended).
  /// Errors: invalid_argument (nothing fed yet), resource_exhausted (context full), cancelled.
  std::optional<TokenId> next();
  /// Tokens of the last set_prompt that did not have to be computed again.
  int64_t reused_tokens() const noexcept { return reused_; }

  /// Logits [n_vocab] after the last token fed; after next(), those its token was drawn from. Empty before the first
  /// feed, and of no meaning after a cancelled one.
  std::span<const float> logits() const noexcept { return logits_; }
  /// Empties the timeline, feeds `tokens` and calls sink(position, logits [n_vocab]) for each position. For perplexity.
  /// Errors: as set_prompt. `tokens` must not be a view of this session's own timeline.
  void score(std::span<const TokenId> tokens, FunctionRef<void(int64_t, std::span<const float>)> sink,
             const Task& task = {});

  /// As feed(), with sink(i, logits [n_vocab] after tokens[i]) for each token. Errors: as score().
  void feed_and_score(std::span<const TokenId> tokens, FunctionRef<void(int64_t, std::span<const float>)> sink,
                      const Task& task = {});

  /// Stops feed/next from another thread within one token or one prefill chunk (error `cancelled`).
  void cancel() noexcept { cancel_.cancel(); }
  void clear_cancel() noexcept { cancel_.reset(); }
  void reset();  // empties the timeline
  /// Also starts the generator again from the seed. Errors: invalid_argument.
  void set_sampling(const SamplingParams& params);

 private:
  friend class DecodeGroup;
  void check_tokens(std::span<const TokenId> tokens, size_t kept) const;
  void check_cancelled(const Task& task) const;
  void compute(size_t keep, const Task& task);

  std::shared_ptr<const Engine> engine_;
  KvCache cache_;
  ForwardPass forward_;
  Sampler sampler_;
  std::vector<TokenId> tokens_;  // capacity n_ctx from the start: next() does not allocate
  std::vector<float> logits_;
  int64_t n_computed_ = 0;  // tokens whose keys and values are in the cache
  int64_t reused_ = 0;
  CancelToken cancel_;
};

}  // namespace thimble
