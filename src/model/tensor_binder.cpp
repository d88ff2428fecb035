// Shape and type checks of bound tensors.
#include "model/tensor_binder.h"

#include <cstdint>
#include <cstring>

#include "base/error.h"

namespace thimble {

const GgufTensor& TensorBinder::take(std::string_view name, int64_t n_in, int64_t n_out) {
  const GgufTensor& tensor = gguf_->tensor(name);
  const auto& ne = tensor.view.ne;
  if (ne[0] != n_in || ne[1] != n_out || ne[2] != 1 || ne[3] != 1) {
    fail(ErrorCode::corrupt, "{}: tensor {}: found shape [{}, {}, {}, {}], expected [{}, {}, 1, 1]", gguf_->source(),
         name, ne[0], ne[1], ne[2], ne[3], n_in, n_out);
  }
  const TypeTraits& type = traits(tensor.view.type);
  if (type.decode == nullptr) {
    fail(ErrorCode::unsupported, "{}: tensor {}: found type {}, expected a float or quantized type", gguf_->source(),
         name, type.name);
  }
  used_.insert(tensor.name);
  return tensor;
}

TensorView TensorBinder::table(std::string_view name, int64_t n_in, int64_t n_out) {
  return take(name, n_in, n_out).view;
}

ops::Weight TensorBinder::matrix(std::string_view name, int64_t n_in, int64_t n_out) {
  const TensorView view = table(name, n_in, n_out);
  ops::Weight weight;
  try {
    weight = ops::prepare_weight(view, isa_);
  } catch (const Error& e) {
    throw Error(e.code(), fmt::format("{}: tensor {}: {}", gguf_->source(), name, e.what()));
  }
  weight.outliers = outliers(name, n_in, n_out);
  matrices_.push_back({std::string(name), view});
  return weight;
}

// The channels are copied: a file that changes under its mapping must not lead outside the activations.
ops::OutlierColumns TensorBinder::outliers(std::string_view name, int64_t n_in, int64_t n_out) {
  const std::string index_name = fmt::format("{}.outlier_index", name);
  const std::string values_name = fmt::format("{}.outlier", name);
  const GgufTensor* index = gguf_->find_tensor(index_name);
  const GgufTensor* values = gguf_->find_tensor(values_name);
  if (index == nullptr && values == nullptr) return {};
  if (index == nullptr || values == nullptr) {
    fail(ErrorCode::corrupt, "{}: tensor {}: found no tensor {} beside it", gguf_->source(),
         index == nullptr ? values_name : index_name, index == nullptr ? index_name : values_name);
  }
  const TensorView& view = index->view;
  if (view.type != TensorType::i32) {
    fail(ErrorCode::unsupported, "{}: tensor {}: found type {}, expected i32", gguf_->source(), index_name,
         traits(view.type).name);
  }
  if (view.n_elements() != view.ne[0] || view.ne[0] > n_in) {
    fail(ErrorCode::corrupt, "{}: tensor {}: found shape [{}, {}, {}, {}], expected at most {} channels",
         gguf_->source(), index_name, view.ne[0], view.ne[1], view.ne[2], view.ne[3], n_in);
  }
  std::vector<int32_t>& channels = indices_->emplace_back(static_cast<size_t>(view.ne[0]));
  std::memcpy(channels.data(), view.data.data(), channels.size() * sizeof(int32_t));
  try {
    const ops::OutlierColumns out = ops::prepare_outliers(channels, values->view, n_in, n_out, isa_);
    used_.insert(index->name);
    used_.insert(values->name);
    return out;
  } catch (const Error& e) {
    throw Error(e.code(), fmt::format("{}: tensor {}: {}", gguf_->source(), name, e.what()));
  }
}

const float* TensorBinder::vector(std::string_view name, int64_t n) {
  const TensorView& view = take(name, n, 1).view;
  const bool aligned = reinterpret_cast<uintptr_t>(view.data.data()) % alignof(float) == 0;
  if (view.type == TensorType::f32 && aligned) return reinterpret_cast<const float*>(view.data.data());
  std::vector<float>& copy = owned_->emplace_back(static_cast<size_t>(n));
  traits(view.type).decode(view.data.data(), copy.data(), n);
  return copy.data();
}

void TensorBinder::refuse_unused() const {
  for (const GgufTensor& tensor : gguf_->tensors()) {
    if (used_.contains(tensor.name)) continue;
    fail(ErrorCode::unsupported, "{}: unexpected tensor {}: this architecture has no place for it", gguf_->source(),
         tensor.name);
  }
}

}  // namespace thimble
