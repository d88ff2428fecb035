// The forward pass of a pre-norm decoder with rotary attention and SwiGLU, in chunks of tokens. All buffers are taken
// at construction; a step neither allocates nor throws.
#include <algorithm>
#include <limits>

#include "base/checked.h"
#include "base/error.h"
#include "model/memory_limit.h"
#include "model/model.h"
#include "ops/attention_tile.h"

namespace thimble {

namespace {

int64_t widest_input(const ModelConfig& config) noexcept {
  return std::max({config.n_embd, config.n_embd_q(), config.n_ff});
}

AlignedBuffer<float> floats(int64_t n_tokens, int64_t width) {
  return AlignedBuffer<float>(static_cast<size_t>(n_tokens) * static_cast<size_t>(width));
}

}  // namespace

struct ForwardScratch {
  ForwardScratch(const ModelConfig& config, int64_t n_batch, int64_t n_ctx, int n_threads)
      : bytes(forward_scratch_bytes(config, n_batch, n_ctx, n_threads)),
        x(floats(n_batch, config.n_embd)),
        h(floats(n_batch, config.n_embd)),
        q(floats(n_batch, config.n_embd_q())),
        k(floats(n_batch, config.n_embd_kv())),
        v(floats(n_batch, config.n_embd_kv())),
        attended(floats(n_batch, config.n_embd_q())),
        gate(floats(n_batch, config.n_ff)),
        up(floats(n_batch, config.n_ff)),
        logits(floats(1, config.n_vocab)),
        activations(n_batch, widest_input(config)),
        rope{config.rope_style, config.n_rot, config.rope_freq_base, config.rope_freq_scale, nullptr},
        rotations(n_batch, config.n_rot),
        attention(n_threads, n_ctx, config.n_head, config.head_dim) {}

  uint64_t bytes;                 // of everything below
  AlignedBuffer<float> x;         // [n_batch, n_embd] residual stream
  AlignedBuffer<float> h;         // [n_batch, n_embd] normed input or output of a block
  AlignedBuffer<float> q;         // [n_batch, n_head, head_dim]
  AlignedBuffer<float> k, v;      // [n_batch, n_head_kv, head_dim]
  AlignedBuffer<float> attended;  // [n_batch, n_head, head_dim]
  AlignedBuffer<float> gate, up;  // [n_batch, n_ff]
  AlignedBuffer<float> logits;    // [1 or more, n_vocab]
  ops::ActivationBuffer activations;
  ops::RopeParams rope;
  ops::RopeTable rotations;
  ops::AttentionScratch attention;
};

ForwardPass::ForwardPass(const Model& model, ThreadPool& pool, int64_t n_batch, int64_t n_ctx)
    : model_(&model), n_batch_(n_batch), backend_(ops::make_backend(pool, model.isa())) {
  if (n_batch < 1) fail(ErrorCode::invalid_argument, "batch: found {} tokens, expected at least 1", n_batch);
  if (n_ctx < 1) fail(ErrorCode::invalid_argument, "context: found {} tokens, expected at least 1", n_ctx);
  const uint64_t bytes = forward_scratch_bytes(model.config(), n_batch, n_ctx, pool.n_threads());
  const std::string what = fmt::format("activations for {} tokens at a time, context {}", n_batch, n_ctx);
  check_memory(bytes, what);
  try {
    scratch_ = std::make_unique<ForwardScratch>(model.config(), n_batch, n_ctx, pool.n_threads());
    scratch_->rope.factors = model.rope_factors_;
  } catch (const std::bad_alloc&) {
    fail(ErrorCode::resource_exhausted, "{}: could not get {} bytes of memory", what, bytes);
  }
}

ForwardPass::~ForwardPass() = default;

void ForwardPass::project_qkv(const LayerWeights& w, const float* x, int64_t n, const InputTap* tap) noexcept {
  const ModelConfig& c = model_->config_;
  ForwardScratch& s = *scratch_;
  ops::rms_norm(backend_, x, w.attn_norm, s.h.data(), n, c.n_embd, c.rms_eps);
  if (tap != nullptr) (*tap)(MatmulInput::qkv, s.h.data(), n, c.n_embd);
  const ops::MatmulOutput qkv[] = {
      {&w.q, s.q.data(), w.q_bias}, {&w.k, s.k.data(), w.k_bias}, {&w.v, s.v.data(), w.v_bias}};
  ops::matmul(backend_, qkv, s.h.data(), n, s.activations);
}

// Results go to s.attended from row part.first on.
void ForwardPass::attend(const ops::KvLayer& kv, Part part, int64_t pos0) noexcept {
  const ModelConfig& c = model_->config_;
  ForwardScratch& s = *scratch_;
  float* const q = s.q.data() + part.first * c.n_embd_q();
  float* const k = s.k.data() + part.first * c.n_embd_kv();
  const float* const v = s.v.data() + part.first * c.n_embd_kv();
  ops::rope(backend_, s.rope, s.rotations, q, part.n, c.n_head, c.head_dim);
  ops::rope(backend_, s.rope, s.rotations, k, part.n, c.n_head_kv, c.head_dim);
  ops::store_kv(backend_, kv, k, v, part.n, c.n_head_kv, c.head_dim, pos0);
  if (part.n_out == 0) return;
  const int64_t skipped = part.n - part.n_out;
  const ops::AttentionShape shape = {part.n_out, c.n_head, c.n_head_kv, c.head_dim, pos0 + skipped, c.sliding_window};
  float* const out = s.attended.data() + part.first * c.n_embd_q();
  ops::attention(backend_, shape, q + skipped * c.n_embd_q(), kv, out, s.attention);
}

// One query of each sequence; the rows of s.rotations are theirs.
void ForwardPass::attend_each(int64_t layer, std::span<const int64_t> positions,
                              std::span<KvCache* const> caches) noexcept {
  const ModelConfig& c = model_->config_;
  ForwardScratch& s = *scratch_;
  const auto n = static_cast<int64_t>(positions.size());
  ops::rope(backend_, s.rope, s.rotations, s.q.data(), n, c.n_head, c.head_dim);
  ops::rope(backend_, s.rope, s.rotations, s.k.data(), n, c.n_head_kv, c.head_dim);
  for (int64_t i = 0; i < n; ++i) {
    const ops::KvLayer& kv = caches[static_cast<size_t>(i)]->layer(layer);
    const int64_t position = positions[static_cast<size_t>(i)];
    ops::store_kv(backend_, kv, s.k.data() + i * c.n_embd_kv(), s.v.data() + i * c.n_embd_kv(), 1, c.n_head_kv,
                  c.head_dim, position);
    const ops::AttentionShape shape = {1, c.n_head, c.n_head_kv, c.head_dim, position, c.sliding_window};
    float* const out = s.attended.data() + i * c.n_embd_q();
    ops::attention(backend_, shape, s.q.data() + i * c.n_embd_q(), kv, out, s.attention);
  }
}

// The first n rows of s.attended, added to x.
void ForwardPass::project_attended(const LayerWeights& w, float* x, int64_t n, const InputTap* tap) noexcept {
  const ModelConfig& c = model_->config_;
  ForwardScratch& s = *scratch_;
  if (tap != nullptr) (*tap)(MatmulInput::attn_output, s.attended.data(), n, c.n_embd_q());
  const ops::MatmulOutput out[] = {{&w.o, s.h.data()}};
  ops::matmul(backend_, out, s.attended.data(), n, s.activations);
  ops::add(backend_, x, s.h.data(), n * c.n_embd);
}

// Attention of `n` tokens, added to the residual stream of the last `n_out` of them (all of them but in the last
// layer).
void ForwardPass::attention_block(size_t layer_index, int64_t n, int64_t n_out, int64_t pos0, KvCache& cache) noexcept {
  const LayerWeights& w = model_->layers_[layer_index];
  ForwardScratch& s = *scratch_;
  project_qkv(w, s.x.data(), n, nullptr);
  attend(cache.layer(static_cast<int64_t>(layer_index)), {0, n, n_out}, pos0);
  if (n_out > 0) project_attended(w, s.x.data() + (n - n_out) * model_->config_.n_embd, n_out, nullptr);
}

void ForwardPass::ffn_block(const LayerWeights& w, float* x, int64_t n, const InputTap* tap) noexcept {
  const ModelConfig& c = model_->config_;
  ForwardScratch& s = *scratch_;
  ops::rms_norm(backend_, x, w.ffn_norm, s.h.data(), n, c.n_embd, c.rms_eps);
  if (tap != nullptr) (*tap)(MatmulInput::gate_up, s.h.data(), n, c.n_embd);
  const ops::MatmulOutput gate_up[] = {{&w.gate, s.gate.data()}, {&w.up, s.up.data()}};
  ops::matmul(backend_, gate_up, s.h.data(), n, s.activations);
  ops::silu_mul(backend_, s.gate.data(), s.up.data(), n * c.n_ff);
  if (tap != nullptr) (*tap)(MatmulInput::ffn_down, s.gate.data(), n, c.n_ff);
  const ops::MatmulOutput down[] = {{&w.down, s.h.data()}};
  ops::matmul(backend_, down, s.gate.data(), n, s.activations);
  ops::add(backend_, x, s.h.data(), n * c.n_embd);
}

// Runs all layers. Only the last `n_last` tokens leave the last layer: the others' output would be thrown away.
void ForwardPass::layers(std::span<const int32_t> tokens, int64_t pos0, KvCache& cache, int64_t n_last) noexcept {
  const int64_t n = static_cast<int64_t>(tokens.size());
  ops::get_rows(backend_, model_->token_embedding_, tokens, scratch_->x.data(), model_->token_embedding_outliers_);
  scratch_->rotations.fill(backend_, scratch_->rope, n, pos0);
  for (size_t i = 0; i < model_->layers_.size(); ++i) {
    const int64_t n_out = i + 1 == model_->layers_.size() ? n_last : n;
    attention_block(i, n, n_out, pos0, cache);
    float* const x = scratch_->x.data() + (n - n_out) * model_->config_.n_embd;
    if (n_out > 0) ffn_block(model_->layers_[i], x, n_out, nullptr);
  }
}

void ForwardPass::grow_logits(int64_t n) {
  ForwardScratch& s = *scratch_;
  const size_t n_logits = static_cast<size_t>(n) * static_cast<size_t>(model_->config_.n_vocab);
  if (n_logits <= s.logits.size()) return;
  const std::string what = fmt::format("logits of {} tokens", n);
  check_memory(checked_mul(n_logits, sizeof(float)), what);
  try {
    s.logits = floats(n, model_->config_.n_vocab);
  } catch (const std::bad_alloc&) {
    fail(ErrorCode::resource_exhausted, "{}: could not get {} bytes of memory", what, n_logits * sizeof(float));
  }
}

std::span<const float> ForwardPass::run(std::span<const int32_t> tokens, int64_t pos0, KvCache& cache,
                                        LogitsFor logits_for) {
  const int64_t n = static_cast<int64_t>(tokens.size());
  const int64_t n_last = logits_for == LogitsFor::all ? n : logits_for == LogitsFor::last ? 1 : 0;
  grow_logits(n_last);
  layers(tokens, pos0, cache, n_last);
  if (n_last == 0) return {};
  return head(scratch_->x.data() + (n - n_last) * model_->config_.n_embd, n_last);
}

std::span<const float> ForwardPass::run_each(std::span<const int32_t> tokens, std::span<const int64_t> positions,
                                             std::span<KvCache* const> caches) {
  const auto n = static_cast<int64_t>(tokens.size());
  grow_logits(n);
  float* const x = scratch_->x.data();
  embed(tokens, x);
  scratch_->rotations.fill(backend_, scratch_->rope, positions);
  for (size_t i = 0; i < model_->layers_.size(); ++i) {
    const LayerWeights& w = model_->layers_[i];
    project_qkv(w, x, n, nullptr);
    attend_each(static_cast<int64_t>(i), positions, caches);
    project_attended(w, x, n, nullptr);
    ffn_block(w, x, n, nullptr);
  }
  return head(x, n);
}

void ForwardPass::embed(std::span<const int32_t> tokens, float* x) noexcept {
  ops::get_rows(backend_, model_->token_embedding_, tokens, x, model_->token_embedding_outliers_);
}

void ForwardPass::run_layer(int64_t layer, std::span<const int64_t> lengths, float* x, KvCache& cache,
                            InputTap tap) noexcept {
  const LayerWeights& w = model_->layers_[static_cast<size_t>(layer)];
  int64_t n = 0, longest = 0;
  for (const int64_t length : lengths) {
    n += length;
    longest = std::max(longest, length);
  }
  // Every sequence starts at position 0, so all share the first rows of one table.
  scratch_->rotations.fill(backend_, scratch_->rope, longest, 0);
  project_qkv(w, x, n, &tap);
  int64_t first = 0;
  for (const int64_t length : lengths) {
    attend(cache.layer(0), {first, length, length}, 0);
    first += length;
  }
  project_attended(w, x, n, &tap);
  ffn_block(w, x, n, &tap);
}

std::span<const float> ForwardPass::head(const float* x, int64_t n) {
  const ModelConfig& c = model_->config_;
  ForwardScratch& s = *scratch_;
  grow_logits(n);
  ops::rms_norm(backend_, x, model_->output_norm_, s.h.data(), n, c.n_embd, c.rms_eps);
  const ops::MatmulOutput output[] = {{&model_->output_, s.logits.data()}};
  ops::matmul(backend_, output, s.h.data(), n, s.activations);
  return {s.logits.data(), static_cast<size_t>(n * c.n_vocab)};
}

void ForwardPass::show_output_input(const float* x, int64_t n, InputTap tap) noexcept {
  const ModelConfig& c = model_->config_;
  ops::rms_norm(backend_, x, model_->output_norm_, scratch_->h.data(), n, c.n_embd, c.rms_eps);
  tap(MatmulInput::output, scratch_->h.data(), n, c.n_embd);
}

uint64_t ForwardPass::scratch_bytes() const noexcept {
  const size_t extra_logits = scratch_->logits.size() - static_cast<size_t>(model_->config_.n_vocab);
  return scratch_->bytes + extra_logits * sizeof(float);
}

uint64_t forward_scratch_bytes(const ModelConfig& config, int64_t n_batch, int64_t n_ctx, int n_threads) noexcept {
  // x, h; q, attended; k, v; gate, up; the converted input of a matmul, at most one float for each input; rotations.
  const int64_t per_token =
      2 * (config.n_embd + config.n_embd_q() + config.n_embd_kv() + config.n_ff) + widest_input(config) + config.n_rot;
  const auto tokens = checked_mul(static_cast<uint64_t>(n_batch), static_cast<uint64_t>(per_token));
  const auto attention = ops::attention_scratch_floats(n_threads, n_ctx, config.n_head, config.head_dim);
  const auto both = tokens && attention ? checked_add(*tokens, *attention) : std::nullopt;
  const auto all = both ? checked_add(*both, static_cast<uint64_t>(config.n_vocab)) : std::nullopt;
  const auto bytes = all ? checked_mul(*all, sizeof(float)) : std::nullopt;
  return bytes.value_or(std::numeric_limits<uint64_t>::max());
}

}  // namespace thimble
