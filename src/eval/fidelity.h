// Fidelity of a model to text and to a reference model: perplexity, KL divergence, top-1 agreement, in llama.cpp's
// protocol (tools/perplexity/perplexity.cpp): the text is tokenized as a whole with BOS and cut into chunks of n_ctx
// tokens, each chunk starts with BOS in place of its first token, and positions n_ctx/2 .. n_ctx-2 predict their
// successor. Differences from --kl-divergence: the reference is run side by side instead of being read from a file of
// 16-bit log probabilities, so nothing is rounded.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/journal.h"
#include "base/progress.h"
#include "runtime/engine.h"

namespace thimble {

struct PerplexityResult {
  double perplexity = 0;
  double standard_error = 0;  // of the perplexity
  int64_t n_chunks = 0;
  int64_t n_scored = 0;  // tokens
};

struct DivergenceResult {
  double mean_kl = 0;  // nats per token, KL(reference || model)
  double median_kl = 0;
  double p99_kl = 0;
  double max_kl = 0;
  double top1_agreement = 0;  // share in 0..1
  double reference_perplexity = 0;
};

struct FidelityResult {
  PerplexityResult perplexity;
  std::optional<DivergenceResult> divergence;  // with a reference
};

/// `reference` may be null: perplexity only. Errors: invalid_argument when the text is shorter than one chunk or
/// vocabularies differ; cancelled.
FidelityResult measure_fidelity(const std::shared_ptr<const Engine>& model,
                                const std::shared_ptr<const Engine>& reference, const std::string& text, int64_t n_ctx,
                                ops::KvType kv, const Task& task = {});

/// Tokens of `text` as chunks are cut from them. For callers that want to know before long work whether a text will do.
/// Errors: invalid_argument, naming `source`, when they do not fill one chunk of n_ctx.
std::vector<TokenId> tokenize_for_chunks(const Tokenizer& tokenizer, const std::string& text, int64_t n_ctx,
                                         const std::string& source);

struct FidelityModel {
  std::shared_ptr<const Engine> engine;
  std::string key;  // identifies model and settings in the journal
};

struct FidelitySettings {
  int64_t n_ctx = 512;
  ops::KvType kv = ops::KvType::f16;  // of the models; the reference keeps its keys and values in f16
  std::string reference_key;
  Journal* journal = nullptr;        // null: nothing is kept; otherwise one line per model and chunk
  std::string text_source = "text";  // names the text in errors
};

/// Several models against one reference, which is run once per chunk for all of them. Errors: as above.
std::vector<FidelityResult> measure_fidelity(std::span<const FidelityModel> models,
                                             const std::shared_ptr<const Engine>& reference, const std::string& text,
                                             const FidelitySettings& settings, const Task& task = {});

/// What decides the journal keys of a text's chunks.
struct TextRun {
  std::string model_key, reference_key, text_hash;  // text_hash: content_hash of the text
  int64_t n_ctx = 512;
  ops::KvType kv = ops::KvType::f16;
};
/// The result from a journal that measure_fidelity has filled to the end, without a model; nothing when it has not.
/// Errors: corrupt.
std::optional<FidelityResult> text_from_journal(const TextRun& run, const Journal& journal);

/// Mean, median, 99th percentile and maximum of `kl`, which is not empty; the other members are left alone.
DivergenceResult divergence_of(std::vector<float> kl);

/// Sums over the scored positions of one chunk: what the journal keeps.
struct ChunkScore {
  int64_t n = 0;
  double nll = 0, nll_squared = 0;  // negative log likelihood in nats, and squares
  double reference_nll = 0;
  int64_t same_top = 0;
  std::vector<float> kl;  // of each position; empty without a reference
};
FidelityResult summarise(std::span<const ChunkScore> chunks);

}  // namespace thimble
