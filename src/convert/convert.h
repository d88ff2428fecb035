// Hugging Face folder -> GGUF: config.json, tokenizer.model or tokenizer.json, chat template, generation config and
// safetensors become one GGUF v3 file of the llama or qwen2 architecture. The only room that knows both namings.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/progress.h"
#include "tensor/tensor_type.h"

namespace thimble {

/// A matrix that the folder had packed as int4 codes.
struct ImportedTensor {
  std::string name;
  TensorType type;
  double largest_change = 0.0;   // of a weight, against scale * (code - zero) of the folder; 0: exact
  double change_in_steps = 0.0;  // the same in units of its scale
};

struct ConvertResult {
  std::string architecture;
  TensorType type = TensorType::f32;  // of most matrices
  uint64_t n_tensors = 0;
  uint64_t file_bytes = 0;
  std::string packing;                   // "gptq", "gptq_v2", "awq gemm", "awq gemv"; empty for float folders
  std::vector<ImportedTensor> imported;  // packed matrices, in order of the file
};

/// Writes `output_path`. `type`: f16, bf16 or f32, for all matrices (packed ones are de-quantized); q4_0, q4_1, q5_0,
/// q8_0, i4_g64 or i4_g128, for the packed matrices of a GPTQ or AWQ folder, whose other matrices become f16; nothing:
/// f16, and packed matrices as fit_packed() chooses. Vectors stay f32. Codes and scales of packed matrices are never
/// rounded again; the result says what became of -scale * zero. Errors: not_found, corrupt, unsupported (architecture,
/// rope scaling, tokenizer, packing: each named), invalid_argument (type), io, resource_exhausted, cancelled.
ConvertResult import_hf(const std::string& hf_folder, const std::string& output_path, std::optional<TensorType> type,
                        const Task& task = {});

/// As import_hf for f16, bf16 and f32 weights; unsupported for folders that are already quantized.
ConvertResult convert_hf(const std::string& hf_folder, const std::string& output_path, TensorType type,
                         const Task& task = {});

/// True when `path` is a folder with config.json.
bool is_hf_folder(const std::string& path);

}  // namespace thimble
