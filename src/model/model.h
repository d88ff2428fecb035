// A bound model (weights by name, checked shapes) and its forward pass over a KV cache. Immutable: all state of a run
// lives in KvCache and ForwardScratch, so threads share one Model.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "base/function_ref.h"
#include "format/gguf.h"
#include "model/model_config.h"
#include "ops/ops.h"
#include "pack/packed_weights.h"

namespace thimble {

/// Keys and values of one sequence. Memory is taken at construction, for n_ctx positions.
class KvCache {
 public:
  /// Errors: invalid_argument (n_ctx < 1), resource_exhausted (more than this machine's memory).
  KvCache(const ModelConfig& config, ops::KvType type, int64_t n_ctx);
  int64_t n_ctx() const noexcept { return n_ctx_; }
  ops::KvType type() const noexcept { return type_; }
  uint64_t bytes() const noexcept;
  const ops::KvLayer& layer(int64_t i) const noexcept { return layers_[static_cast<size_t>(i)]; }

 private:
  ops::KvType type_;
  int64_t n_ctx_;
  AlignedBuffer<std::byte> data_;
  AlignedBuffer<float> scales_;
  std::vector<ops::KvLayer> layers_;
};

struct LayerWeights {
  const float* attn_norm = nullptr;  // [n_embd]
  ops::Weight q, k, v, o;
  const float* q_bias = nullptr;
  const float* k_bias = nullptr;
  const float* v_bias = nullptr;
  const float* ffn_norm = nullptr;  // [n_embd]
  ops::Weight gate, up, down;
};

/// Buffers of a forward pass over up to n_batch tokens.
struct ForwardScratch;

class Model {
 public:
  /// Binds the tensors of `gguf`, which must outlive the model. Errors: unsupported, corrupt (each names the tensor).
  Model(const GgufFile& gguf, kernels::Isa isa);
  // Moving keeps the heap blocks that the layers point into; copying would not.
  Model(Model&&) noexcept = default;
  Model& operator=(Model&&) noexcept = default;
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;

  const ModelConfig& config() const noexcept { return config_; }
  kernels::Isa isa() const noexcept { return isa_; }
  const TensorView& token_embedding() const noexcept { return token_embedding_; }
  const ops::Weight& output() const noexcept { return output_; }
  std::span<const LayerWeights> layers() const noexcept { return layers_; }
  uint64_t weight_bytes() const noexcept { return weight_bytes_; }

  /// Every matrix it multiplies by (the embedding only when it is the head too), for plan_packing().
  std::span<const NamedMatrix> matrices() const noexcept { return matrices_; }
  /// From now on multiplies by `packed`, made for plan_packing(matrices(), isa()), where it has a matrix; null: by the
  /// layout of the file. Not while a forward pass runs.
  void use_packed(std::shared_ptr<const PackedWeights> packed);
  /// From now on reads `view` where it read matrix `name`, as head and as embedding where it is both: for measuring
  /// what a change of one weight does. Outlier columns of the old matrix go with it. The data must outlive the model or
  /// the next replacement. Not while a forward pass runs. Errors: not_found; invalid_argument for another shape, or
  /// when weights are packed (panels have the old values); unsupported when no kernel multiplies by the type. Nothing
  /// has changed after an error.
  void replace_matrix(std::string_view name, const TensorView& view);
  /// What is read now for matrix or embedding `name`. Errors: not_found.
  const TensorView& matrix(std::string_view name) const;
  /// Null when there are none.
  const std::shared_ptr<const PackedWeights>& packed() const noexcept { return packed_; }

 private:
  friend class ForwardPass;
  const NamedMatrix* find_matrix(std::string_view name) const noexcept;
  ops::Weight* weight_of(const TensorView& view) noexcept;

  ModelConfig config_;
  kernels::Isa isa_;
  TensorView token_embedding_;
  ops::OutlierColumns token_embedding_outliers_;
  const float* output_norm_ = nullptr;
  ops::Weight output_;
  const float* rope_factors_ = nullptr;  // [n_rot / 2] or null
  std::vector<LayerWeights> layers_;
  std::vector<std::vector<float>> owned_floats_;     // norms and biases stored as other types
  std::vector<std::vector<int32_t>> owned_indices_;  // channels of outlier columns
  uint64_t weight_bytes_ = 0;
  std::vector<NamedMatrix> matrices_;
  std::shared_ptr<const PackedWeights> packed_;
};

/// Which positions get logits. `none` only fills the cache: for all chunks of a prompt but the last one.
enum class LogitsFor { none, last, all };

/// Inputs of matrix products that can be watched: what q, k and v share; what o gets; what gate and up share; what down
/// gets; what the output head gets.
enum class MatmulInput { qkv, attn_output, gate_up, ffn_down, output };

/// Sees x [n_tokens, n_in], the input of the matrices of `which`, before they are multiplied. Must not throw.
using InputTap = FunctionRef<void(MatmulInput which, const float* x, int64_t n_tokens, int64_t n_in)>;

/// One worker's buffers for running a model: n_batch tokens at most per call.
class ForwardPass {
 public:
  /// `model` and `pool` must outlive it. Errors: invalid_argument (n_batch or n_ctx < 1), resource_exhausted,
  /// unsupported (isa).
  ForwardPass(const Model& model, ThreadPool& pool, int64_t n_batch, int64_t n_ctx);
  ~ForwardPass();

  int64_t n_batch() const noexcept { return n_batch_; }

  /// Runs `tokens` (1 .. n_batch, ids in range) at positions pos0.. ; pos0 + tokens.size() <= cache.n_ctx().
  /// Returns logits [n, n_vocab]: n = 0 for `none`, 1 for `last`, tokens.size() for `all`. Valid until the next call.
  /// Does not allocate and cannot fail, but for the first `all` of a size, which takes room for its logits.
  /// Errors: resource_exhausted (`all` only; nothing was computed).
  std::span<const float> run(std::span<const int32_t> tokens, int64_t pos0, KvCache& cache, LogitsFor logits_for);

  /// One token each of several sequences: tokens[i] at positions[i] of caches[i], all three 1 .. n_batch long, no cache
  /// twice and none longer than this object's n_ctx. Weights are read once for all of them. Returns logits
  /// [n, n_vocab], bit for bit those of run() for each alone (kernels and attention do not depend on the number of
  /// rows); valid until the next call. Allocates only for the logits of a larger n than before. Errors:
  /// resource_exhausted (nothing was computed).
  std::span<const float> run_each(std::span<const int32_t> tokens, std::span<const int64_t> positions,
                                  std::span<KvCache* const> caches);

  // The model one layer at a time over a residual stream x [n, n_embd] of the caller's, so that a layer sees all data
  // before the next one is touched: embed(), run_layer(0) .. run_layer(n_layer - 1), then head() or
  // show_output_input(). n is at most n_batch. The numbers are those of run().

  /// x = embeddings of `tokens` (ids in range).
  void embed(std::span<const int32_t> tokens, float* x) noexcept;
  /// Runs layer `layer` over sequences of `lengths` tokens that lie one after the other in x, each from position 0 and
  /// at most n_ctx long. Keys and values go through layer 0 of `cache`, which may be of a model with one layer.
  void run_layer(int64_t layer, std::span<const int64_t> lengths, float* x, KvCache& cache, InputTap tap) noexcept;
  /// Logits [n, n_vocab] of any n rows of x, valid until the next call. Errors: resource_exhausted, as run().
  std::span<const float> head(const float* x, int64_t n);
  /// Shows the tap what the output head would get of x, of n tokens.
  void show_output_input(const float* x, int64_t n, InputTap tap) noexcept;

  /// Bytes of activation memory held.
  uint64_t scratch_bytes() const noexcept;

 private:
  // Tokens of a chunk: n of them from `first`; the last n_out of these are queries.
  struct Part {
    int64_t first, n, n_out;
  };
  void project_qkv(const LayerWeights& w, const float* x, int64_t n, const InputTap* tap) noexcept;
  void attend(const ops::KvLayer& kv, Part part, int64_t pos0) noexcept;
  void attend_each(int64_t layer, std::span<const int64_t> positions, std::span<KvCache* const> caches) noexcept;
  void project_attended(const LayerWeights& w, float* x, int64_t n, const InputTap* tap) noexcept;
  void attention_block(size_t layer_index, int64_t n, int64_t n_out, int64_t pos0, KvCache& cache) noexcept;
  void ffn_block(const LayerWeights& w, float* x, int64_t n, const InputTap* tap) noexcept;
  void layers(std::span<const int32_t> tokens, int64_t pos0, KvCache& cache, int64_t n_last) noexcept;
  void grow_logits(int64_t n);

  const Model* model_;
  int64_t n_batch_;
  ops::Backend backend_;
  std::unique_ptr<ForwardScratch> scratch_;
};

/// Bytes of activation memory ForwardPass would hold, without allocating (for plans).
/// Saturates at 2^64 - 1.
uint64_t forward_scratch_bytes(const ModelConfig& config, int64_t n_batch, int64_t n_ctx, int n_threads) noexcept;

}  // namespace thimble
