// A model of two small layers for tests of allocation, and the plainest rounding.
#pragma once

#include "model/synthetic_model.h"
#include "quantize/sensitivity.h"

namespace thimble {

inline ModelConfig sensitivity_config() {
  ModelConfig c;
  c.architecture = "llama";
  c.name = "tiny";
  c.n_layer = 2;
  c.n_embd = 64;
  c.n_head = 4;
  c.n_head_kv = 2;
  c.head_dim = 16;
  c.n_rot = 16;
  c.n_ff = 96;
  c.n_vocab = 264;
  c.n_ctx_train = 128;
  return c;
}

inline SyntheticModel sensitivity_model(ThreadPool& pool) {
  return make_synthetic_model(sensitivity_config(), synthetic_tensors(sensitivity_config(), TensorType::f32, false), {},
                              pool);
}

/// Rows as the scalar specification encodes them, without importance.
inline CandidateWeights encode_rows(const GgufTensor& tensor, TensorType type) {
  const int64_t n_in = tensor.view.ne[0];
  const auto bytes = static_cast<size_t>(*row_bytes(type, static_cast<uint64_t>(n_in)));
  CandidateWeights out{type, AlignedBuffer<std::byte>(bytes * static_cast<size_t>(tensor.view.n_rows()))};
  std::vector<float> row(static_cast<size_t>(n_in));
  for (int64_t r = 0; r < tensor.view.n_rows(); ++r) {
    traits(tensor.view.type).decode(tensor.view.row(r), row.data(), n_in);
    traits(type).encode(row.data(), nullptr, out.data.data() + static_cast<size_t>(r) * bytes, n_in);
  }
  return out;
}

}  // namespace thimble
