// Binds tensors of a GGUF by name: checks shape and type, converts vectors to float, and remembers what was used so
// that a tensor nobody asked for is an error instead of a silently different model.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <vector>

#include "format/gguf.h"
#include "ops/ops.h"
#include "pack/pack_plan.h"

namespace thimble {

class TensorBinder {
 public:
  /// `owned` receives float copies of vectors that cannot be used in place, `indices` the checked channels of outlier
  /// columns; both must outlive the pointers returned.
  TensorBinder(const GgufFile& gguf, kernels::Isa isa, std::vector<std::vector<float>>& owned,
               std::vector<std::vector<int32_t>>& indices)
      : gguf_(&gguf), isa_(isa), owned_(&owned), indices_(&indices) {}

  bool has(std::string_view name) const noexcept { return gguf_->find_tensor(name) != nullptr; }

  /// View of a matrix [n_out, n_in]. Errors: corrupt (missing, shape), unsupported (a type that has no float values).
  TensorView table(std::string_view name, int64_t n_in, int64_t n_out);
  /// As table(), bound to its kernel and its outlier columns. Errors: and unsupported when no kernel multiplies by the
  /// type; as outliers().
  ops::Weight matrix(std::string_view name, int64_t n_in, int64_t n_out);
  /// `name`.outlier_index and `name`.outlier of a matrix [n_out, n_in]; none where the file has neither. Errors:
  /// corrupt (one without the other, shapes, channels), unsupported (types).
  ops::OutlierColumns outliers(std::string_view name, int64_t n_in, int64_t n_out);
  /// Floats of a vector [n]. Errors: as table().
  const float* vector(std::string_view name, int64_t n);

  /// Errors: unsupported, naming the first tensor that was not bound.
  void refuse_unused() const;

  /// Every matrix() so far.
  std::vector<NamedMatrix> take_matrices() { return std::move(matrices_); }

 private:
  const GgufTensor& take(std::string_view name, int64_t n_in, int64_t n_out);

  const GgufFile* gguf_;  // not owned
  kernels::Isa isa_;
  std::vector<std::vector<float>>* owned_;      // not owned
  std::vector<std::vector<int32_t>>* indices_;  // not owned
  std::unordered_set<std::string_view> used_;
  std::vector<NamedMatrix> matrices_;
};

}  // namespace thimble
