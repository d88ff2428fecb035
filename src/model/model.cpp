// Binds the weights of a GGUF to a Model.
#include "model/model.h"

#include <algorithm>
#include <cmath>
#include <unordered_map>
#include <utility>

#include "base/error.h"
#include "base/utf8.h"
#include "model/architecture.h"
#include "model/tensor_binder.h"

namespace thimble {

namespace {

// Divisors of the rope frequencies: llama3 scaling, computed by whoever wrote the file.
const float* bind_rope_factors(TensorBinder& binder, const GgufFile& gguf, const ModelConfig& config) {
  if (!binder.has("rope_freqs.weight")) return nullptr;
  const int64_t n = config.n_rot / 2;
  const float* factors = binder.vector("rope_freqs.weight", n);
  for (int64_t i = 0; i < n; ++i) {
    if (std::isfinite(factors[i]) && factors[i] > 0.0f) continue;
    fail(ErrorCode::corrupt, "{}: tensor rope_freqs.weight: found {} at {}, expected a positive number", gguf.source(),
         factors[i], i);
  }
  return factors;
}

// What a file says its reader must know (docs/FORMAT.md). A feature of a later version would change the weights.
void require_known_features(const GgufFile& gguf) {
  const GgufKeyValue* key = gguf.find("thimble.features");
  if (key == nullptr) return;
  const auto* list = std::get_if<GgufArray>(&key->value);
  if (list == nullptr || list->element_type != GgufType::string) {
    fail(ErrorCode::corrupt, "{}: key thimble.features: found {}, expected an array of strings", gguf.source(),
         gguf_type_name(key->type()));
  }
  for (const std::string_view feature : list->strings) {
    if (feature == "group_types" || feature == "outlier_branch") continue;
    fail(
        ErrorCode::unsupported,
        "{}: key thimble.features: found '{}', expected group_types or outlier_branch; a newer version wrote this file",
        gguf.source(), printable(feature));
  }
}

}  // namespace

Model::Model(const GgufFile& gguf, kernels::Isa isa) : config_(read_model_config(gguf)), isa_(isa) {
  const Architecture& architecture = find_architecture(config_.architecture, gguf.source());
  require_known_features(gguf);
  TensorBinder binder(gguf, isa, owned_floats_, owned_indices_);
  token_embedding_ = binder.table("token_embd.weight", config_.n_embd, config_.n_vocab);
  token_embedding_outliers_ = binder.outliers("token_embd.weight", config_.n_embd, config_.n_vocab);
  output_norm_ = binder.vector("output_norm.weight", config_.n_embd);
  // A file without a head uses the embedding as head (tied).
  const std::string_view head = binder.has("output.weight") ? "output.weight" : "token_embd.weight";
  output_ = binder.matrix(head, config_.n_embd, config_.n_vocab);
  rope_factors_ = bind_rope_factors(binder, gguf, config_);
  for (int64_t i = 0; i < config_.n_layer; ++i) {
    // Not resized up front: a file that promises a thousand layers and has none must not cost memory.
    architecture.bind_layer(binder, config_, i, layers_.emplace_back());
  }
  binder.refuse_unused();
  matrices_ = binder.take_matrices();
  for (const GgufTensor& tensor : gguf.tensors()) weight_bytes_ += tensor.view.data.size();
}

void Model::use_packed(std::shared_ptr<const PackedWeights> packed) {
  packed_ = std::move(packed);
  // Tensors do not overlap: where its data begins says which one a weight is.
  std::unordered_map<const std::byte*, const NamedMatrix*> by_data;
  for (const NamedMatrix& matrix : matrices_) by_data.emplace(matrix.view.data.data(), &matrix);
  const auto bind = [&](ops::Weight& weight) {
    const auto found = by_data.find(weight.view.data.data());
    if (found == by_data.end()) return;  // absent in this architecture
    const int lanes = ops::packed_lanes(weight.view.type, isa_);
    const std::byte* panels = packed_ == nullptr ? nullptr : packed_->find(*found->second, lanes);
    const ops::OutlierColumns outliers = weight.outliers;
    weight = panels == nullptr ? ops::prepare_weight(weight.view, isa_)
                               : ops::prepare_packed_weight(weight.view, isa_, panels);
    weight.outliers = outliers;
  };
  bind(output_);
  for (LayerWeights& layer : layers_) {
    for (ops::Weight* w : {&layer.q, &layer.k, &layer.v, &layer.o, &layer.gate, &layer.up, &layer.down}) bind(*w);
  }
}

// Tensors do not overlap: where its data begins says which one a weight is.
ops::Weight* Model::weight_of(const TensorView& view) noexcept {
  const std::byte* data = view.data.data();
  if (output_.view.data.data() == data) return &output_;
  for (LayerWeights& layer : layers_) {
    for (ops::Weight* w : {&layer.q, &layer.k, &layer.v, &layer.o, &layer.gate, &layer.up, &layer.down}) {
      if (w->view.data.data() == data) return w;
    }
  }
  return nullptr;
}

const NamedMatrix* Model::find_matrix(std::string_view name) const noexcept {
  const auto found = std::find_if(matrices_.begin(), matrices_.end(), [&](const auto& m) { return m.name == name; });
  return found == matrices_.end() ? nullptr : &*found;
}

const TensorView& Model::matrix(std::string_view name) const {
  if (name == "token_embd.weight") return token_embedding_;
  const NamedMatrix* found = find_matrix(name);
  if (found == nullptr) fail(ErrorCode::not_found, "model: no matrix {}", name);
  return found->view;
}

void Model::replace_matrix(std::string_view name, const TensorView& view) {
  const TensorView old = matrix(name);
  if (view.ne != old.ne || view.data.size() != row_bytes(view.type, static_cast<uint64_t>(view.ne[0])).value_or(0) *
                                                   static_cast<uint64_t>(view.n_rows())) {
    fail(ErrorCode::invalid_argument, "model: matrix {}: found a replacement of {} x {} in {} bytes, expected {} x {}",
         name, view.ne[0], view.ne[1], view.data.size(), old.ne[0], old.ne[1]);
  }
  if (packed_ != nullptr) {
    fail(ErrorCode::invalid_argument, "model: matrix {} cannot be replaced while weights are packed", name);
  }
  const ops::Weight bound = ops::prepare_weight(view, isa_);
  if (ops::Weight* weight = weight_of(old); weight != nullptr) *weight = bound;
  if (name == "token_embd.weight") {
    token_embedding_ = view;
    token_embedding_outliers_ = {};
  }
  for (NamedMatrix& m : matrices_) {
    if (m.name == name) m.view = view;
  }
}

}  // namespace thimble
