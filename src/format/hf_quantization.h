// quantization_config of a Hugging Face folder: weights that AutoGPTQ, GPTQModel or AutoAWQ have packed as int4.
// Sources: auto_gptq/quantization/config.py, gptqmodel/quantization/config.py, awq/models/_config.py.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/json.h"

namespace thimble {

enum class HfPacking {
  gptq,      // 8 codes along the input in a word; zero points stored less one
  gptq_v2,   // the same; zero points as they are
  awq_gemm,  // 8 codes along the output in a word, interleaved
  awq_gemv,  // 8 codes along the input in a word, a row after the other
};

/// "gptq", "gptq_v2", "awq gemm", "awq gemv": for messages and metadata.
std::string_view hf_packing_name(HfPacking packing) noexcept;

struct HfQuantization {
  HfPacking packing = HfPacking::gptq;
  int64_t group_size = -1;            // inputs that share a scale; -1: all of a row
  bool act_order = false;             // columns were quantized in order of activation (desc_act)
  bool static_groups = false;         // with act_order: groups are of neighbouring columns nevertheless
  std::optional<bool> symmetric;      // what the file says
  bool written_by_gptqmodel = false;  // its gptq files wrap zero points as whole words (PackedMatrix)

  /// `value`: quantization_config, or the document quantize_config.json (AutoGPTQ) or quant_config.json (AutoAWQ).
  /// `default_method` stands in for a missing quant_method: those documents have none. `source` names it in errors.
  /// Errors: unsupported (another method, layout or width, groups that are no multiple of 32, settings per module,
  /// adapters), corrupt (missing or absurd values); each names the key.
  static HfQuantization parse(const Json& value, const std::string& source, const std::string& default_method = "");
};

}  // namespace thimble
