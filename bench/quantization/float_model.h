// Float references out of quantized files, for figures about quantizers where a model's float weights are gone.
// De-quantized weights lie on the grid of the type they came from, so that quantizing them to it again would be free. A
// model has symmetries that change no logit: the order of residual channels, of FFN channels, of key/value heads with
// their query heads, and of channels within a value head. Shuffling them mixes columns of different blocks, and
// quantizers see ordinary weights again.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/progress.h"
#include "format/gguf.h"
#include "model/model_config.h"

namespace thimble::bench {

/// order[new index] = old index.
using Order = std::vector<int32_t>;

/// Orders of one layer. Empty: unchanged.
struct LayerOrder {
  Order ffn;     // [n_ff]
  Order q_rows;  // [n_embd_q] whole heads: rope turns each pair at a frequency of its own, so pairs stay where they are
  Order k_rows;  // [n_embd_kv] whole heads
  Order v_rows;  // [n_embd_kv] heads, and channels within each
  Order o_input;  // [n_embd_q] what v_rows does to the input of attn_output
};

struct ModelOrder {
  Order residual;  // [n_embd]
  std::vector<LayerOrder> layers;
};

/// The order of channels that `seed` draws. The same on every machine.
ModelOrder draw_order(const ModelConfig& config, uint64_t seed);
/// The order as it is.
ModelOrder identity_order(const ModelConfig& config);

/// Writes `in` with matrices as F16 and vectors as F32, its channels in `order`. Atomic; peak memory is a few rows.
/// Errors: unsupported (a tensor of no known role, a value beyond f16), corrupt (shapes), io, cancelled.
void write_float_model(const GgufFile& in, const ModelOrder& order, const std::string& path, const Task& task = {});

/// What rounding the matrices of a model row by row to the types they have in `original` loses: the relative error
/// |Q(W) - W| / |W| beside that of Gaussian noise in the same type, over at most `rows` rows of each quantized matrix,
/// spread over it. Weights on the grid of their type lose next to nothing, ordinary ones about as much as noise.
struct RequantizedError {
  double overall = 0;           // of all matrices together
  std::string tensor;           // the matrix whose error is the smallest beside noise
  double share_of_noise = 0.0;  // its error / that of noise
  int64_t matrices = 0;
};
RequantizedError requantized_error(const GgufFile& model, const GgufFile& original, int64_t rows);

}  // namespace thimble::bench
