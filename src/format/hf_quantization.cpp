#include "format/hf_quantization.h"

#include <algorithm>
#include <cctype>

#include "base/error.h"

namespace thimble {

namespace {

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
  return text;
}

// The first of two names of a key: the packages have renamed some.
std::string_view present(const JsonObject& root, std::string_view name, std::string_view other) {
  return root.has(other) && !root.has(name) ? other : name;
}

HfPacking parse_packing(const JsonObject& root, const std::string& method) {
  if (method == "awq") {
    const std::string_view key = present(root, "version", present(root, "checkpoint_format", "format"));
    const std::string version = lower(root.string(key, "gemm"));
    if (version == "gemm") return HfPacking::awq_gemm;
    if (version == "gemv") return HfPacking::awq_gemv;
    fail(ErrorCode::unsupported, "{}: key '{}': found '{}', expected 'gemm' or 'gemv'", root.source(), key, version);
  }
  const std::string_view key = present(root, "checkpoint_format", "format");
  const bool marlin = root.boolean("is_marlin_format", false);
  const std::string format = marlin ? "marlin" : lower(root.string(key, "gptq"));
  if (format == "gptq") return HfPacking::gptq;
  if (format == "gptq_v2") return HfPacking::gptq_v2;
  fail(ErrorCode::unsupported, "{}: key '{}': found '{}', expected 'gptq' or 'gptq_v2'", root.source(),
       marlin ? "is_marlin_format" : key, format);
}

void refuse_filled(const JsonObject& root, std::string_view key, std::string_view why) {
  if (!root.has(key)) return;
  const Json& value = root.at(key);
  if (value.is_boolean() ? !value.get<bool>() : value.empty()) return;
  fail(ErrorCode::unsupported, "{}: key '{}': found {}, expected none: {}", root.source(), key, describe_json(value),
       why);
}

int64_t parse_group_size(const JsonObject& root) {
  const std::string_view key = present(root, "group_size", "q_group_size");
  const int64_t size = root.integer(key, -1, 1 << 20);
  if (size == 0) fail(ErrorCode::corrupt, "{}: key '{}': found 0, expected -1 or a size", root.source(), key);
  if (size > 0 && size % 32 != 0) {
    fail(ErrorCode::unsupported, "{}: key '{}': found {}, expected -1 or a multiple of 32", root.source(), key, size);
  }
  return size;
}

// GPTQModel keeps what does not matter for inference under "meta".
void parse_meta(const JsonObject& root, HfQuantization& quantization) {
  if (!root.has("meta")) return;
  const JsonObject meta(root.at("meta"), fmt::format("{}: key 'meta'", root.source()));
  quantization.static_groups = meta.boolean("static_groups", quantization.static_groups);
  if (!meta.has("quantizer")) return;
  const Json& value = meta.at("quantizer");
  const Json& first = value.is_array() && !value.empty() ? value.front() : value;
  quantization.written_by_gptqmodel = first.is_string() && lower(first.get<std::string>()).starts_with("gptqmodel");
}

}  // namespace

std::string_view hf_packing_name(HfPacking packing) noexcept {
  switch (packing) {
    case HfPacking::gptq:
      return "gptq";
    case HfPacking::gptq_v2:
      return "gptq_v2";
    case HfPacking::awq_gemm:
      return "awq gemm";
    default:
      return "awq gemv";
  }
}

HfQuantization HfQuantization::parse(const Json& value, const std::string& source, const std::string& default_method) {
  const JsonObject root(value, source);
  const std::string method = lower(root.string("quant_method", default_method.empty() ? "unnamed" : default_method));
  if (method != "gptq" && method != "awq") {
    fail(ErrorCode::unsupported, "{}: the weights are already quantized ('{}'), expected float weights, gptq or awq",
         source, method);
  }
  HfQuantization quantization;
  quantization.packing = parse_packing(root, method);
  const std::string_view bits_key = present(root, "bits", "w_bit");
  if (const int64_t bits = root.integer(bits_key, 1, 64); bits != 4) {
    fail(ErrorCode::unsupported, "{}: key '{}': found {}, expected 4", source, bits_key, bits);
  }
  quantization.group_size = parse_group_size(root);
  if (const std::string dtype = lower(root.string("pack_dtype", "int32")); dtype != "int32") {
    fail(ErrorCode::unsupported, "{}: key 'pack_dtype': found '{}', expected 'int32'", source, dtype);
  }
  refuse_filled(root, "dynamic", "settings that differ from module to module are not read");
  refuse_filled(root, "adapter", "an adapter would be left out");
  if (method == "gptq") {
    quantization.act_order = root.boolean("desc_act", false);
    quantization.static_groups = root.boolean("static_groups", false);
    if (root.has("sym")) quantization.symmetric = root.boolean("sym", true);
    parse_meta(root, quantization);
  }
  return quantization;
}

}  // namespace thimble
