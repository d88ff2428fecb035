// Hugging Face folder -> GGUF: config.json, tokenizer.model or tokenizer.json, chat template, generation config and
// safetensors become one GGUF v3 file of the llama or qwen2 architecture. The only room that knows both namings.
#pragma once

#include <cstdint>
#include <string>

#include "base/progress.h"
#include "tensor/tensor_type.h"

namespace thimble {

struct ConvertResult {
  std::string architecture;
  uint64_t n_tensors = 0;
  uint64_t file_bytes = 0;
};

/// Writes `output_path` with matrices as `type` (f16, bf16 or f32); vectors stay f32. Errors: not_found, corrupt,
/// unsupported (architecture, rope scaling, tokenizer: each named), io, resource_exhausted, cancelled.
ConvertResult convert_hf(const std::string& hf_folder, const std::string& output_path, TensorType type,
                         const Task& task = {});

/// True when `path` is a folder with config.json.
bool is_hf_folder(const std::string& path);

}  // namespace thimble
