// Random models. Every tensor has a generator of its own (seed and position), so that threads do not change the values.
#include "model/synthetic_model.h"

#include <atomic>
#include <cmath>
#include <cstring>
#include <span>

#include "base/checked.h"
#include "base/error.h"
#include "base/random.h"
#include "model/memory_limit.h"
#include "tensor/tensor_type.h"

namespace thimble {

namespace {

// Rows of a matrix that are drawn; a prime, so that the repetition does not line up with heads or tiles.
constexpr int64_t kDistinctRows = 61;

// Every tensor a sequence of its own.
SplitMix64 sequence_of(uint64_t seed, uint64_t stream) noexcept {
  return SplitMix64(seed * 0x9E3779B97F4A7C15u + stream * 0xD1B54A32D192ED03u);
}

// `row` has room for the tensor's row: worker threads must not allocate.
void fill_tensor(const GgufTensorPlan& plan, const SyntheticOptions& options, uint64_t stream, std::span<float> row,
                 std::byte* out) noexcept {
  const int64_t n = plan.ne[0];
  const int64_t n_rows = plan.ne[1] * plan.ne[2] * plan.ne[3];
  const TypeTraits& type = traits(plan.type);
  const size_t bytes_per_row = static_cast<size_t>(n) / type.block_elems * type.block_bytes;
  const EncodeFn encode = type.encode;
  row = row.first(static_cast<size_t>(n));
  if (plan.name == "rope_freqs.weight") {
    encode(options.rope_factors.data(), nullptr, out, n);
    return;
  }
  SplitMix64 random = sequence_of(options.seed, stream);
  const bool norm = plan.name.ends_with("norm.weight");
  const float spread = norm || plan.name.ends_with(".bias") ? 0.1f : 1.0f / std::sqrt(static_cast<float>(n));
  for (int64_t r = 0; r < std::min(n_rows, kDistinctRows); ++r) {
    for (float& value : row) value = (norm ? 1.0f : 0.0f) + spread * static_cast<float>(random.gaussian());
    encode(row.data(), nullptr, out + static_cast<size_t>(r) * bytes_per_row, n);
  }
  for (int64_t r = kDistinctRows; r < n_rows; ++r) {
    std::memcpy(out + static_cast<size_t>(r) * bytes_per_row,
                out + static_cast<size_t>(r % kDistinctRows) * bytes_per_row, bytes_per_row);
  }
}

void add_vocabulary(GgufMetadata& metadata, int64_t n_vocab) {
  // ggml's token kinds: 1 normal, 2 unknown, 3 control, 6 byte.
  std::vector<std::string> tokens = {"<unk>", "<s>", "</s>"};
  std::vector<int32_t> kinds = {2, 3, 3};
  for (int i = 0; i < 256; ++i) {
    tokens.push_back(fmt::format("<0x{:02X}>", i));
    kinds.push_back(6);
  }
  while (static_cast<int64_t>(tokens.size()) < n_vocab) {
    tokens.push_back(fmt::format("\u2581w{}", tokens.size()));
    kinds.push_back(1);
  }
  std::vector<float> scores(tokens.size());
  for (size_t i = 0; i < scores.size(); ++i) scores[i] = -static_cast<float>(i);
  metadata.set_string("tokenizer.ggml.model", "llama");
  metadata.set_string("tokenizer.ggml.pre", "default");
  metadata.set_strings("tokenizer.ggml.tokens", tokens);
  metadata.set_floats("tokenizer.ggml.scores", scores);
  metadata.set_int32s("tokenizer.ggml.token_type", kinds);
  metadata.set_uint32("tokenizer.ggml.bos_token_id", 1);
  metadata.set_uint32("tokenizer.ggml.eos_token_id", 2);
  metadata.set_uint32("tokenizer.ggml.unknown_token_id", 0);
  metadata.set_bool("tokenizer.ggml.add_bos_token", true);
}

}  // namespace

std::vector<GgufTensorPlan> synthetic_tensors(const ModelConfig& config, TensorType type, bool tied_output) {
  std::vector<GgufTensorPlan> tensors;
  const auto matrix = [&](std::string name, int64_t n_in, int64_t n_out) {
    tensors.push_back({std::move(name), type, 2, {n_in, n_out, 1, 1}});
  };
  const auto vector = [&](std::string name, int64_t n) {
    tensors.push_back({std::move(name), TensorType::f32, 1, {n, 1, 1, 1}});
  };
  matrix("token_embd.weight", config.n_embd, config.n_vocab);
  for (int64_t i = 0; i < config.n_layer; ++i) {
    const auto name = [i](std::string_view suffix) { return fmt::format("blk.{}.{}", i, suffix); };
    vector(name("attn_norm.weight"), config.n_embd);
    matrix(name("attn_q.weight"), config.n_embd, config.n_embd_q());
    matrix(name("attn_k.weight"), config.n_embd, config.n_embd_kv());
    matrix(name("attn_v.weight"), config.n_embd, config.n_embd_kv());
    if (config.has_qkv_bias) {
      vector(name("attn_q.bias"), config.n_embd_q());
      vector(name("attn_k.bias"), config.n_embd_kv());
      vector(name("attn_v.bias"), config.n_embd_kv());
    }
    matrix(name("attn_output.weight"), config.n_embd_q(), config.n_embd);
    vector(name("ffn_norm.weight"), config.n_embd);
    matrix(name("ffn_gate.weight"), config.n_embd, config.n_ff);
    matrix(name("ffn_up.weight"), config.n_embd, config.n_ff);
    matrix(name("ffn_down.weight"), config.n_ff, config.n_embd);
  }
  vector("output_norm.weight", config.n_embd);
  if (!tied_output) matrix("output.weight", config.n_embd, config.n_vocab);
  return tensors;
}

GgufMetadata synthetic_metadata(const ModelConfig& config, const SyntheticOptions& options) {
  GgufMetadata metadata;
  const auto key = [&](std::string_view suffix) { return fmt::format("{}.{}", config.architecture, suffix); };
  const auto set = [&](std::string_view suffix, int64_t value) {
    metadata.set_uint32(key(suffix), static_cast<uint32_t>(value));
  };
  metadata.set_string("general.architecture", config.architecture);
  metadata.set_string("general.name", config.name);
  set("block_count", config.n_layer);
  set("context_length", config.n_ctx_train);
  set("embedding_length", config.n_embd);
  set("feed_forward_length", config.n_ff);
  set("attention.head_count", config.n_head);
  set("attention.head_count_kv", config.n_head_kv);
  set("attention.key_length", config.head_dim);
  set("attention.value_length", config.head_dim);
  set("rope.dimension_count", config.n_rot);
  set("vocab_size", config.n_vocab);
  if (config.sliding_window > 0) set("attention.sliding_window", config.sliding_window);
  metadata.set_float32(key("attention.layer_norm_rms_epsilon"), config.rms_eps);
  metadata.set_float32(key("rope.freq_base"), config.rope_freq_base);
  if (config.rope_freq_scale != 1.0f) {
    metadata.set_string(key("rope.scaling.type"), "linear");
    metadata.set_float32(key("rope.scaling.factor"), 1.0f / config.rope_freq_scale);
  }
  if (options.vocabulary) add_vocabulary(metadata, config.n_vocab);
  return metadata;
}

SyntheticModel make_synthetic_model(const ModelConfig& config, std::vector<GgufTensorPlan> tensors,
                                    const SyntheticOptions& options, ThreadPool& pool) {
  if (!options.rope_factors.empty()) {
    const auto n = static_cast<int64_t>(options.rope_factors.size());
    tensors.push_back({"rope_freqs.weight", TensorType::f32, 1, {n, 1, 1, 1}});
  }
  const GgufMetadata metadata = synthetic_metadata(config, options);
  const uint64_t total = gguf_file_bytes(metadata, tensors);
  check_memory(total, "synthetic model");
  SyntheticModel model;
  try {
    model.image = AlignedBuffer<std::byte>(total);
  } catch (const std::bad_alloc&) {
    fail(ErrorCode::resource_exhausted, "synthetic model: could not get {} bytes of memory", total);
  }
  const std::vector<std::byte> header = gguf_header(metadata, tensors);
  std::memcpy(model.image.data(), header.data(), header.size());
  const std::span<const std::byte> image(model.image.data(), model.image.size());
  model.gguf = GgufFile::parse(image, "synthetic model");
  int64_t widest = 1;
  for (const GgufTensorPlan& tensor : tensors) widest = std::max(widest, tensor.ne[0]);
  std::vector<std::vector<float>> rows(static_cast<size_t>(pool.n_threads()));
  for (std::vector<float>& row : rows) row.resize(static_cast<size_t>(widest));
  std::atomic<size_t> next{0};
  pool.run([&](int thread_index) {
    for (size_t i = next.fetch_add(1); i < tensors.size(); i = next.fetch_add(1)) {
      const size_t offset = static_cast<size_t>(model.gguf.tensors()[i].view.data.data() - image.data());
      fill_tensor(tensors[i], options, i, rows[static_cast<size_t>(thread_index)], model.image.data() + offset);
    }
  });
  return model;
}

}  // namespace thimble
