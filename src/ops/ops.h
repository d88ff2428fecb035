// Shape-checked tensor operations: what the forward pass is written in. They split work over threads and are the only
// callers of kernels. Nothing here allocates or throws after preparation.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>

#include "base/aligned_buffer.h"
#include "base/thread_pool.h"
#include "kernels/isa.h"
#include "tensor/tensor_view.h"

namespace thimble::kernels {
struct MatmulKernel;
struct VectorKernels;
}  // namespace thimble::kernels

namespace thimble::ops {

/// How a computation runs: threads and instruction set. Cheap to copy.
struct Backend {
  ThreadPool* pool = nullptr;
  kernels::Isa isa = kernels::Isa::scalar;
  const kernels::VectorKernels* vector = nullptr;  // float row kernels of the isa
  bool prefetch = false;                           // MatmulArgs::prefetch
};

/// Errors: unsupported when this machine cannot run `isa`.
Backend make_backend(ThreadPool& pool, kernels::Isa isa);

/// Input channels that quantization serves worst, beside the quantized rest of a matrix: W = rest + values at the
/// columns `index` (docs/FORMAT.md, "Outlier branch"; the idea of LLM.int8(), arXiv 2208.07339, and SpQR,
/// arXiv 2306.03078). `values` is the difference, whatever the rest holds there.
struct OutlierColumns {
  const int32_t* index = nullptr;                 // [k], ascending
  TensorView values;                              // f16 [n_out, k]: ne = {k, n_out, 1, 1}
  const kernels::MatmulKernel* kernel = nullptr;  // chosen by prepare_outliers
  int64_t k() const noexcept { return index == nullptr ? 0 : values.ne[0]; }
};

/// A weight matrix W [n_out, n_in] bound to the kernel that multiplies by it.
struct Weight {
  TensorView view;                                // ne = {n_in, n_out, 1, 1}; null data when absent
  const kernels::MatmulKernel* kernel = nullptr;  // chosen by prepare_weight
  const std::byte* packed = nullptr;              // panels that the kernel reads instead of view.data, or null
  OutlierColumns outliers = {};                   // added to every product; none by default
  int64_t n_in() const noexcept { return view.ne[0]; }
  int64_t n_out() const noexcept { return view.ne[1]; }
};

/// Multiplies straight from the GGUF layout. Errors: unsupported when no kernel multiplies by this type.
Weight prepare_weight(const TensorView& view, kernels::Isa isa);

/// Rows per panel of the packed form that `isa` reads for this type, or 0 when it reads only the GGUF layout.
int packed_lanes(TensorType type, kernels::Isa isa);

/// Bytes of the packed form of `view` for `isa`: whole panels, so a little more than view.data when rows do not fill
/// the last one. 0 when there is none. Errors: as prepare_weight.
size_t packed_bytes(const TensorView& view, kernels::Isa isa);

/// Packs panels [begin, end) of `view` to `out` (panel `begin` at its start).
void pack_panels(const TensorView& view, kernels::Isa isa, int64_t begin, int64_t end, std::byte* out) noexcept;

/// Multiplies from `packed` [packed_bytes(view, isa)], 64-byte aligned, made by pack_panels for the same isa's lanes;
/// it must outlive the weight. `view` gives type and shape; its data is not read again. Errors: as prepare_weight.
Weight prepare_packed_weight(const TensorView& view, kernels::Isa isa, const std::byte* packed);

/// Outlier columns of a matrix of `n_in` columns and `n_out` rows. `index` must outlive them. Errors: corrupt (index
/// empty, out of range or not ascending; values of another shape), unsupported (values that are not f16).
OutlierColumns prepare_outliers(std::span<const int32_t> index, const TensorView& values, int64_t n_in, int64_t n_out,
                                kernels::Isa isa);

/// Activations converted once per matmul input to the layouts kernels read (int8 blocks or floats).
class ActivationBuffer {
 public:
  /// Room for `max_tokens` rows of `max_k` floats.
  ActivationBuffer(int64_t max_tokens, int64_t max_k);
  std::byte* data() noexcept { return buffer_.data(); }
  size_t size() const noexcept { return buffer_.size(); }

 private:
  AlignedBuffer<std::byte> buffer_;
};

/// One product of a group that shares its input: out [n_tokens, w.n_out()], row stride n_out; bias [n_out] or null.
struct MatmulOutput {
  const Weight* weight;
  float* out;
  const float* bias = nullptr;
};

/// out_i = x W_i^T + bias_i for every output i, outlier columns included. x [n_tokens, n_in]; all weights share n_in.
void matmul(const Backend& backend, std::span<const MatmulOutput> outputs, const float* x, int64_t n_tokens,
            ActivationBuffer& scratch) noexcept;

/// Upper triangle of a symmetric matrix [n, n], row after row without what is left of the diagonal.
constexpr int64_t triangle_size(int64_t n) noexcept {
  return n * (n + 1) / 2;
}
/// Where row i of it begins, with its diagonal element.
constexpr int64_t triangle_row(int64_t n, int64_t i) noexcept {
  return i * n - i * (i - 1) / 2;
}

/// Floats of scratch that add_gram() needs.
size_t gram_scratch_floats(const Backend& backend) noexcept;

/// h += x^T x of a chunk of rows, given transposed: x_t [n, n_tokens]; h the upper triangle, triangle_size(n) doubles.
/// A chunk's products are summed as floats, in one order whatever the threads; chunks as doubles. `scratch`
/// [gram_scratch_floats].
void add_gram(const Backend& backend, const float* x_t, int64_t n, int64_t n_tokens, double* h,
              float* scratch) noexcept;

/// out [n, n_rows] = transpose of x [n_rows, n].
void transpose(const Backend& backend, const float* x, int64_t n_rows, int64_t n, float* out) noexcept;

/// Decodes row `ids[t]` of `table` (embedding, [n_vocab, n_embd]) and its outlier columns into out [n_tokens, n_embd].
/// Ids must be in range.
void get_rows(const Backend& backend, const TensorView& table, std::span<const int32_t> ids, float* out,
              const OutlierColumns& outliers = {}) noexcept;

/// out[t] = x[t] / sqrt(mean(x[t]^2) + eps) * weight; x, out [n_tokens, n]; in place allowed.
void rms_norm(const Backend& backend, const float* x, const float* weight, float* out, int64_t n_tokens, int64_t n,
              float eps) noexcept;

/// x += y; both [n].
void add(const Backend& backend, float* x, const float* y, int64_t n) noexcept;

/// gate = silu(gate) * up; both [n].
void silu_mul(const Backend& backend, float* gate, const float* up, int64_t n) noexcept;

/// Rotary embedding geometry. `norm` pairs (2i, 2i+1) as llama GGUFs store q and k; `neox` pairs (i, i + n_rot/2).
enum class RopeStyle { norm, neox };

struct RopeParams {
  RopeStyle style = RopeStyle::norm;
  int64_t n_rot = 0;               // leading dimensions of each head that rotate; even
  float freq_base = 10000.0f;      // theta
  float freq_scale = 1.0f;         // linear scaling: positions are multiplied by this
  const float* factors = nullptr;  // [n_rot / 2] divisors of each frequency (rope_freqs.weight), or null
};

/// Cosines and sines of a chunk of positions, computed once and used by all layers and by queries and keys.
class RopeTable {
 public:
  RopeTable() = default;
  /// Room for `max_tokens` positions of `n_rot` rotating dimensions.
  RopeTable(int64_t max_tokens, int64_t n_rot);
  /// Positions pos0 .. pos0 + n_tokens - 1.
  void fill(const Backend& backend, const RopeParams& params, int64_t n_tokens, int64_t pos0) noexcept;
  /// Any positions, one of each token: the same values as fill() gives for them.
  void fill(const Backend& backend, const RopeParams& params, std::span<const int64_t> positions) noexcept;
  /// cosine, sine of each pair [n_rot / 2] at token `t` of the chunk.
  const float* row(int64_t t) const noexcept { return values_.data() + t * n_rot_; }

 private:
  template <typename PositionOf>
  void fill_rows(const Backend& backend, const RopeParams& params, int64_t n_tokens, PositionOf position_of) noexcept;
  int64_t n_rot_ = 0;
  AlignedBuffer<float> values_;  // [max_tokens, n_rot / 2, 2]
};

/// Rotates x [n_tokens, n_heads, head_dim] in place by the first n_tokens rows of `table`, filled with these params.
void rope(const Backend& backend, const RopeParams& params, const RopeTable& table, float* x, int64_t n_tokens,
          int64_t n_heads, int64_t head_dim) noexcept;

/// Element type of a key/value cache.
enum class KvType : uint8_t { f16, int8 };

/// Keys or values of one layer, f16 bits or int8 in the order of ops/kv_layout.h, head after head: n_head_kv times
/// n_ctx x padded head_dim elements, 64-byte aligned; for int8 one float scale per (kv head, position):
/// [n_head_kv][n_ctx].
struct KvPlane {
  void* data = nullptr;
  float* scales = nullptr;
};
struct KvLayer {
  KvType type = KvType::f16;
  int64_t n_ctx = 0;  // positions there is room for: a multiple of 16
  KvPlane k, v;
};

/// Writes k and v [n_tokens, n_head_kv, head_dim] (after rope) to positions pos0.. of the layer; int8 rounds to
/// scale = max|x| / 127, keys after a rotation that queries undergo too (ops/attention.cpp).
void store_kv(const Backend& backend, const KvLayer& layer, const float* k, const float* v, int64_t n_tokens,
              int64_t n_head_kv, int64_t head_dim, int64_t pos0) noexcept;

struct AttentionShape {
  int64_t n_tokens, n_head, n_head_kv, head_dim;
  int64_t pos0;        // position of the first query; keys 0 .. pos0 + n_tokens - 1 are in the cache
  int64_t window = 0;  // sliding window: a query at p sees keys in (p - window, p]; 0 = all
};

/// Scratch of attention() for contexts up to n_ctx, used by one call at a time.
class AttentionScratch {
 public:
  /// Takes attention_scratch_floats() of memory. Errors: std::bad_alloc.
  AttentionScratch(int n_threads, int64_t n_ctx, int64_t n_head, int64_t head_dim);
  /// A thread's own memory: thread_floats() of ops/attention.cpp.
  float* thread_scratch(int thread_index) noexcept;
  /// Results of the spans of a context, before they are merged: [n_head][spans of n_ctx][16 + padded head_dim].
  float* partials() noexcept;
  /// [n_head] counters of finished spans, all zero between calls.
  std::atomic<int32_t>* finished() noexcept { return finished_.get(); }

 private:
  size_t per_thread_;
  size_t n_threads_;
  AlignedBuffer<float> buffer_;
  std::unique_ptr<std::atomic<int32_t>[]> finished_;
};

/// out [n_tokens, n_head, head_dim] = softmax(q k^T / sqrt(head_dim)) v, causal. int8: scores are integer dot
/// products of rounded queries (max|q| / 127) and keys; softmax weights times value scales are rounded to 1/16383 of
/// the largest of a block of 256 keys. The result depends neither on threads nor on how tokens are dealt to calls.
void attention(const Backend& backend, const AttentionShape& shape, const float* q, const KvLayer& layer, float* out,
               AttentionScratch& scratch) noexcept;

}  // namespace thimble::ops
