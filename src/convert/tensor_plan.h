// Which tensor of the folder becomes which tensor of the GGUF file, with the shape the configuration demands.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "convert/hf_folder.h"
#include "convert/packed_int4.h"
#include "format/gguf_writer.h"

namespace thimble {

/// One tensor to be written: from the folder, or computed.
struct TensorJob {
  GgufTensorPlan plan;
  const SafetensorsTensor* source = nullptr;  // points into the folder's weights; null: `packed` or `values`
  std::optional<PackedMatrix> packed;         // int4 codes and scales instead of `source`
  PackedFit fit;                              // of `packed`: what plan.type changes
  int64_t permuted_heads = 0;                 // > 0: the rows of each of that many heads change order (see row_source)
  std::vector<float> values;                  // computed f32 elements
};

/// "llama" or "qwen2". Mistral is a llama whose config.json may have a sliding window.
std::string gguf_architecture(const HfConfig& config);

/// All tensors in the order they are written; float matrices as `type`, vectors as f32. Matrices that the folder has
/// packed (NAME.qweight instead of NAME.weight) become `packed_type`, or what fit_packed() chooses. Errors: corrupt (a
/// missing or extra tensor, a wrong shape), unsupported (an element type that is not a float, biases the architecture
/// does not have); as open_gptq, open_awq and fit_packed.
std::vector<TensorJob> plan_tensors(const HfFolder& folder, TensorType type,
                                    std::optional<TensorType> packed_type = std::nullopt);

/// The row of a [n_rows, n] matrix in Hugging Face's order that is row `row` in GGUF's: the folder has the two halves
/// of each head's rotary pairs apart (rotate_half), the llama architecture of ggml has them side by side.
int64_t row_source(int64_t row, int64_t n_rows, int64_t n_heads) noexcept;

/// Divisors of the rotary frequencies, [head_dim / 2]: rope_freqs.weight. Llama 3.1's rule (modeling_rope_utils.py of
/// transformers, _compute_llama3_parameters): long wavelengths are divided by `factor`, short ones are kept, those
/// between are interpolated.
std::vector<float> llama3_rope_factors(const HfConfig& config);

}  // namespace thimble
