#include "convert/tensor_plan.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <string_view>
#include <unordered_set>

#include "base/error.h"
#include "convert/awq_checkpoint.h"
#include "convert/gptq_checkpoint.h"

namespace thimble {

namespace {

bool is_float_type(SafetensorsType type) {
  return type == SafetensorsType::f16 || type == SafetensorsType::bf16 || type == SafetensorsType::f32 ||
         type == SafetensorsType::f64;
}

// Looks up tensors one by one and remembers which were used.
class Planner {
 public:
  Planner(const HfFolder& folder, TensorType type, std::optional<TensorType> packed_type)
      : folder_(folder), type_(type), packed_type_(packed_type) {}

  void matrix(const std::string& from, const std::string& to, int64_t rows, int64_t cols, int64_t permuted_heads = 0) {
    if (is_packed(from)) return add_packed(from, to, rows, cols, permuted_heads);
    add(from, {to, type_, 2, {cols, rows, 1, 1}}, {rows, cols}, permuted_heads);
  }

  void vector(const std::string& from, const std::string& to, int64_t size) {
    add(from, {to, TensorType::f32, 1, {size, 1, 1, 1}}, {size}, 0);
  }

  void computed(const std::string& to, std::vector<float> values) {
    TensorJob job;
    job.plan = {to, TensorType::f32, 1, {static_cast<int64_t>(values.size()), 1, 1, 1}};
    job.values = std::move(values);
    jobs_.push_back(std::move(job));
  }

  // Errors: corrupt, when the folder has a tensor that was not asked for.
  std::vector<TensorJob> finish() {
    for (const SafetensorsTensor& tensor : folder_.weights.tensors()) {
      // Old checkpoints carry the rotary frequencies, which follow from the configuration. A tied head may be stored
      // although it is not used.
      const bool derived =
          tensor.name.ends_with("rotary_emb.inv_freq") || (folder_.config.tied_head && tensor.name == "lm_head.weight");
      if (derived || used_.contains(tensor.name) || is_zero_bias(tensor)) continue;
      fail(ErrorCode::corrupt, "{}: tensor '{}' {} is not part of a {} with {} layers", folder_.weights.source(),
           tensor.name, format_shape(tensor.shape), folder_.config.architecture, folder_.config.n_layer);
    }
    return std::move(jobs_);
  }

 private:
  static std::string module_of(std::string_view name) { return std::string(name.substr(0, name.rfind('.'))); }

  bool is_packed(const std::string& name) const {
    const std::string codes = module_of(name) + ".qweight";
    if (!folder_.config.quantization || folder_.weights.find(codes) == nullptr) return false;
    if (folder_.weights.find(name) != nullptr) {
      fail(ErrorCode::corrupt, "{}: found both tensor '{}' and '{}', expected one of them", folder_.weights.source(),
           name, codes);
    }
    return true;
  }

  // AutoGPTQ gives every packed module a bias, of zeros where the model has none.
  bool is_zero_bias(const SafetensorsTensor& tensor) const {
    if (!tensor.name.ends_with(".bias") || !used_.contains(module_of(tensor.name) + ".qweight")) return false;
    const bool zero =
        std::all_of(tensor.data.begin(), tensor.data.end(), [](std::byte b) { return b == std::byte{0}; });
    if (zero) return true;
    fail(ErrorCode::unsupported, "{}: tensor '{}': found a bias, expected none or zeros in a {}",
         folder_.weights.source(), tensor.name, folder_.config.architecture);
  }

  void add_packed(const std::string& from, const std::string& to, int64_t rows, int64_t cols, int64_t permuted_heads) {
    const HfQuantization& quantization = *folder_.config.quantization;
    const bool awq = quantization.packing == HfPacking::awq_gemm || quantization.packing == HfPacking::awq_gemv;
    const std::string module = module_of(from);
    TensorJob job;
    job.packed = (awq ? open_awq : open_gptq)(folder_.weights, quantization, module, rows, cols);
    job.fit = fit_packed(*job.packed, packed_type_, quantization.symmetric, folder_.weights.source());
    job.plan = {to, job.fit.type, 2, {cols, rows, 1, 1}};
    job.permuted_heads = permuted_heads;
    for (const char* part : {".qweight", ".qzeros", ".scales", ".g_idx"}) used_.insert(module + part);
    jobs_.push_back(std::move(job));
  }

  void add(const std::string& from, GgufTensorPlan plan, const std::vector<int64_t>& shape, int64_t permuted_heads) {
    const SafetensorsTensor* tensor = folder_.weights.find(from);
    const std::string& source = folder_.weights.source();
    if (tensor == nullptr) {
      fail(ErrorCode::corrupt, "{}: tensor '{}' is missing, expected it with shape {}", source, from,
           format_shape(shape));
    }
    if (tensor->shape != shape) {
      fail(ErrorCode::corrupt, "{}: tensor '{}' has shape {}, expected {} from config.json", source, from,
           format_shape(tensor->shape), format_shape(shape));
    }
    if (!is_float_type(tensor->type)) {
      fail(ErrorCode::unsupported, "{}: tensor '{}' has elements of type {}, expected F16, BF16, F32 or F64", source,
           from, safetensors_type_name(tensor->type));
    }
    used_.insert(from);
    TensorJob job;
    job.plan = std::move(plan);
    job.source = tensor;
    job.permuted_heads = permuted_heads;
    jobs_.push_back(std::move(job));
  }

  const HfFolder& folder_;
  TensorType type_;
  std::optional<TensorType> packed_type_;
  std::unordered_set<std::string> used_;
  std::vector<TensorJob> jobs_;
};

void plan_layer(Planner& planner, const HfConfig& c, const std::string& architecture, int64_t layer) {
  const std::string hf = fmt::format("model.layers.{}.", layer);
  const std::string gguf = fmt::format("blk.{}.", layer);
  const bool llama = architecture == "llama";
  const int64_t n_q = c.n_head * c.head_dim;
  const int64_t n_kv = c.n_head_kv * c.head_dim;
  planner.matrix(hf + "self_attn.q_proj.weight", gguf + "attn_q.weight", n_q, c.n_embd, llama ? c.n_head : 0);
  planner.matrix(hf + "self_attn.k_proj.weight", gguf + "attn_k.weight", n_kv, c.n_embd, llama ? c.n_head_kv : 0);
  planner.matrix(hf + "self_attn.v_proj.weight", gguf + "attn_v.weight", n_kv, c.n_embd);
  if (!llama) {
    planner.vector(hf + "self_attn.q_proj.bias", gguf + "attn_q.bias", n_q);
    planner.vector(hf + "self_attn.k_proj.bias", gguf + "attn_k.bias", n_kv);
    planner.vector(hf + "self_attn.v_proj.bias", gguf + "attn_v.bias", n_kv);
  }
  planner.matrix(hf + "self_attn.o_proj.weight", gguf + "attn_output.weight", c.n_embd, n_q);
  planner.matrix(hf + "mlp.gate_proj.weight", gguf + "ffn_gate.weight", c.n_ff, c.n_embd);
  planner.matrix(hf + "mlp.up_proj.weight", gguf + "ffn_up.weight", c.n_ff, c.n_embd);
  planner.matrix(hf + "mlp.down_proj.weight", gguf + "ffn_down.weight", c.n_embd, c.n_ff);
  planner.vector(hf + "input_layernorm.weight", gguf + "attn_norm.weight", c.n_embd);
  planner.vector(hf + "post_attention_layernorm.weight", gguf + "ffn_norm.weight", c.n_embd);
}

}  // namespace

std::string gguf_architecture(const HfConfig& config) {
  return config.architecture == "Qwen2ForCausalLM" ? "qwen2" : "llama";
}

std::vector<TensorJob> plan_tensors(const HfFolder& folder, TensorType type, std::optional<TensorType> packed_type) {
  const HfConfig& config = folder.config;
  const std::string architecture = gguf_architecture(config);
  if (architecture == "llama" && (config.attention_bias || config.mlp_bias)) {
    fail(ErrorCode::unsupported, "{}/config.json: key '{}': {} with biases, expected without", folder.path,
         config.attention_bias ? "attention_bias" : "mlp_bias", config.architecture);
  }
  Planner planner(folder, type, packed_type);
  planner.matrix("model.embed_tokens.weight", "token_embd.weight", config.n_vocab, config.n_embd);
  for (int64_t layer = 0; layer < config.n_layer; ++layer) plan_layer(planner, config, architecture, layer);
  planner.vector("model.norm.weight", "output_norm.weight", config.n_embd);
  if (!config.tied_head) planner.matrix("lm_head.weight", "output.weight", config.n_vocab, config.n_embd);
  if (config.rope_scaling.type == HfRopeType::llama3)
    planner.computed("rope_freqs.weight", llama3_rope_factors(config));
  return planner.finish();
}

int64_t row_source(int64_t row, int64_t n_rows, int64_t n_heads) noexcept {
  const int64_t head_dim = n_rows / n_heads;
  const int64_t in_head = row % head_dim;
  return row - in_head + (in_head % 2) * (head_dim / 2) + in_head / 2;
}

std::vector<float> llama3_rope_factors(const HfConfig& config) {
  const HfRopeScaling& s = config.rope_scaling;
  const auto context = static_cast<double>(s.original_context);
  std::vector<float> factors;
  for (int64_t i = 0; i < config.head_dim; i += 2) {
    const double exponent = static_cast<double>(i) / static_cast<double>(config.head_dim);
    const double wavelength = 2.0 * std::numbers::pi * std::pow(config.rope_theta, exponent);
    double factor = 1.0;
    if (wavelength > context / s.low_freq_factor) {
      factor = s.factor;
    } else if (wavelength >= context / s.high_freq_factor) {
      const double smooth = (context / wavelength - s.low_freq_factor) / (s.high_freq_factor - s.low_freq_factor);
      factor = 1.0 / ((1.0 - smooth) / s.factor + smooth);
    }
    factors.push_back(static_cast<float>(factor));
  }
  return factors;
}

}  // namespace thimble
