// Test folders whose matrices are packed as GPTQ or AWQ int4, from codes that the test knows.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "convert/test_hf_folder.h"
#include "format/hf_quantization.h"

namespace thimble {

/// A matrix before it is packed: weight[o][i] = scale[o][i / group] * (code[o][i] - zero[o][i / group]).
struct TestCodes {
  int64_t n_out = 0, n_in = 0, group = 0;
  std::vector<uint8_t> codes;    // [n_out][n_in]
  std::vector<uint8_t> zeros;    // [n_out][n_groups]
  std::vector<uint16_t> scales;  // [n_out][n_groups], f16

  int64_t n_groups() const { return (n_in + group - 1) / group; }
  size_t group_of(int64_t o, int64_t i) const { return static_cast<size_t>(o * n_groups() + i / group); }
  float weight(int64_t o, int64_t i) const {
    const size_t g = group_of(o, i);
    return f16_to_f32(scales[g]) * static_cast<float>(codes[static_cast<size_t>(o * n_in + i)] - zeros[g]);
  }
};

/// For `zeros_from`: a zero point from 1 to 15.
inline int any_zero(uint32_t random) {
  return 1 + static_cast<int>(random % 15);
}

/// Codes, scales and zero points that differ from place to place. `zeros_from`: the zero point of a group; null: 8.
inline TestCodes test_codes(int64_t n_out, int64_t n_in, int64_t group, uint32_t seed,
                            const std::function<int(uint32_t)>& zeros_from = {}) {
  TestCodes t;
  t.n_out = n_out;
  t.n_in = n_in;
  t.group = group < 0 ? n_in : group;
  uint32_t state = seed * 2654435761u + 1;
  const auto next = [&] { return (state = state * 1664525u + 1013904223u) >> 8; };
  for (int64_t i = 0; i < n_out * n_in; ++i) t.codes.push_back(static_cast<uint8_t>(next() & 15u));
  for (int64_t i = 0; i < n_out * t.n_groups(); ++i) {
    t.zeros.push_back(static_cast<uint8_t>(zeros_from ? zeros_from(next()) : 8));
    t.scales.push_back(static_cast<uint16_t>(0x1800u + next() % 0x1000u));  // 0.002 to 0.03, all bits of a mantissa
  }
  return t;
}

/// Words of 8 nibbles: `at(word, nibble)` gives each nibble of [n_words].
inline std::string pack_words(int64_t n_words, const std::function<uint32_t(int64_t, int)>& at) {
  std::vector<uint32_t> words;
  for (int64_t w = 0; w < n_words; ++w) {
    uint32_t word = 0;
    for (int n = 0; n < 8; ++n) word |= (at(w, n) & 15u) << (4 * n);
    words.push_back(word);
  }
  return raw_bytes<uint32_t>(words);
}

inline int64_t gemv_zeros_width(const TestCodes& t) {
  const int64_t multiple = t.group >= 128 ? 1 : t.group == 64 ? 2 : 4;
  return ((t.n_groups() + 7) / 8 + multiple - 1) / multiple * multiple;
}

/// The tensors of a packed module, from the formulas in the documentation of PackedMatrix.
inline std::vector<TestTensor> pack_module(const std::string& module, const TestCodes& t, HfPacking packing) {
  constexpr int kOrder[8] = {0, 2, 4, 6, 1, 3, 5, 7};
  const int64_t g_count = t.n_groups();
  const auto code = [&](int64_t o, int64_t i) -> uint32_t { return t.codes[static_cast<size_t>(o * t.n_in + i)]; };
  const auto zero = [&](int64_t o, int64_t g) -> uint32_t { return t.zeros[static_cast<size_t>(o * g_count + g)]; };
  std::vector<uint16_t> by_group;  // scales [n_groups][n_out]
  for (int64_t g = 0; g < g_count; ++g) {
    for (int64_t o = 0; o < t.n_out; ++o) by_group.push_back(t.scales[static_cast<size_t>(o * g_count + g)]);
  }
  const TestTensor scales = {module + ".scales", "F16", {g_count, t.n_out}, raw_bytes<uint16_t>(by_group)};
  const int64_t out_words = t.n_out / 8, in_words = t.n_in / 8;
  if (packing == HfPacking::awq_gemm) {
    return {{module + ".qweight",
             "I32",
             {t.n_in, out_words},
             pack_words(t.n_in * out_words,
                        [&](int64_t w, int n) { return code(w % out_words * 8 + kOrder[n], w / out_words); })},
            {module + ".qzeros",
             "I32",
             {g_count, out_words},
             pack_words(g_count * out_words,
                        [&](int64_t w, int n) { return zero(w % out_words * 8 + kOrder[n], w / out_words); })},
            scales};
  }
  if (packing == HfPacking::awq_gemv) {
    const int64_t width = gemv_zeros_width(t);
    std::vector<uint16_t> padded(static_cast<size_t>(t.n_out * width * 8));
    for (int64_t o = 0; o < t.n_out; ++o) {
      for (int64_t g = 0; g < g_count; ++g) {
        padded[static_cast<size_t>(o * width * 8 + g)] = t.scales[static_cast<size_t>(o * g_count + g)];
      }
    }
    return {
        {module + ".qweight",
         "I32",
         {t.n_out, in_words},
         pack_words(t.n_out * in_words, [&](int64_t w, int n) { return code(w / in_words, w % in_words * 8 + n); })},
        {module + ".qzeros",
         "I32",
         {t.n_out, width},
         pack_words(t.n_out * width,
                    [&](int64_t w, int n) {
                      const int64_t g = w % width * 8 + n;
                      return g < g_count ? zero(w / width, g) : 0u;
                    })},
        {module + ".scales", "F16", {t.n_out, width * 8}, raw_bytes<uint16_t>(padded)}};
  }
  const uint32_t less = packing == HfPacking::gptq ? 1 : 0;
  std::vector<int32_t> order;
  for (int64_t i = 0; i < t.n_in; ++i) order.push_back(static_cast<int32_t>(i / t.group));
  return {{module + ".qweight",
           "I32",
           {in_words, t.n_out},
           pack_words(in_words * t.n_out, [&](int64_t w, int n) { return code(w % t.n_out, w / t.n_out * 8 + n); })},
          {module + ".qzeros",
           "I32",
           {g_count, out_words},
           pack_words(g_count * out_words,
                      [&](int64_t w, int n) { return zero(w % out_words * 8 + n, w / out_words) - less; })},
          scales,
          {module + ".g_idx", "I32", {t.n_in}, raw_bytes<int32_t>(order)}};
}

/// A llama (or qwen2) of one layer, 4 heads of 32 and 2 for keys, with every matrix of the layer packed.
class PackedFolder : public TestFolder {
 public:
  PackedFolder(HfPacking packing, int64_t group, const std::function<int(uint32_t)>& zeros_from = {},
               const std::string& architecture = "LlamaForCausalLM")
      : TestFolder(architecture) {
    const bool awq = packing == HfPacking::awq_gemm || packing == HfPacking::awq_gemv;
    const int n_ff = awq ? 256 : 192;  // AutoGPTQ's last group of 128 may be short
    config.update({{"hidden_size", 128}, {"intermediate_size", n_ff}, {"num_hidden_layers", 1}});
    config["quantization_config"] = {{"quant_method", awq ? "awq" : "gptq"}, {"bits", 4}, {"group_size", group}};
    Json& quantization = config["quantization_config"];
    if (awq) quantization["version"] = packing == HfPacking::awq_gemm ? "gemm" : "gemv";
    if (!awq) quantization["checkpoint_format"] = packing == HfPacking::gptq ? "gptq" : "gptq_v2";
    if (!awq) quantization["sym"] = !zeros_from;
    tensors.clear();
    add_float("model.embed_tokens.weight", {8, 128});
    const std::string layer = "model.layers.0.";
    uint32_t seed = 0;
    for (const auto& [name, n_out, n_in] : {std::tuple("self_attn.q_proj", 128, 128),
                                            {"self_attn.k_proj", 64, 128},
                                            {"self_attn.v_proj", 64, 128},
                                            {"self_attn.o_proj", 128, 128},
                                            {"mlp.gate_proj", n_ff, 128},
                                            {"mlp.up_proj", n_ff, 128},
                                            {"mlp.down_proj", 128, n_ff}}) {
      modules.emplace_back(layer + name, test_codes(n_out, n_in, group, ++seed, zeros_from));
      for (TestTensor& t : pack_module(layer + name, modules.back().second, packing)) tensors.push_back(std::move(t));
    }
    if (architecture == "Qwen2ForCausalLM") {
      add_float(layer + "self_attn.q_proj.bias", {128});
      add_float(layer + "self_attn.k_proj.bias", {64});
      add_float(layer + "self_attn.v_proj.bias", {64});
    }
    add_float(layer + "input_layernorm.weight", {128});
    add_float(layer + "post_attention_layernorm.weight", {128});
    add_float("model.norm.weight", {128});
    add_float("lm_head.weight", {8, 128});
  }

  std::vector<std::pair<std::string, TestCodes>> modules;

  /// As TestFolder::error, of import_hf.
  std::string imported_error(std::optional<TensorType> type = std::nullopt) const {
    std::string text;
    try {
      import_hf(path(), output(), type);
    } catch (const Error& e) {
      text = fmt::format("{}: {}", error_code_name(e.code()), hide_path(e.what(), path()));
    }
    EXPECT_EQ(std::filesystem::exists(output()), text.empty());
    return text;
  }

  void add_float(const std::string& name, std::vector<int64_t> shape) {
    size_t elements = 1;
    for (const int64_t n : shape) elements *= static_cast<size_t>(n);
    tensors.push_back({name, "F16", std::move(shape), encode_values(test_values(elements, tensors.size()), "F16")});
  }
};

}  // namespace thimble
