// Every tensor has a role: which order its rows and which its columns follow.
#include "quantization/float_model.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <numeric>
#include <string_view>

#include "base/error.h"
#include "base/random.h"
#include "format/gguf_writer.h"

namespace thimble::bench {

namespace {

Order shuffled(int64_t n, SplitMix64& random) {
  Order order(static_cast<size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  shuffle_values(order, random);
  return order;
}

// Rows of a matrix of heads: channel c of new head h is channel channels[h / per][c] of old head heads[h].
Order head_rows(const Order& heads, const std::vector<Order>& channels, int64_t per, int64_t head_dim) {
  Order rows;
  for (size_t h = 0; h < heads.size(); ++h) {
    for (int64_t c = 0; c < head_dim; ++c) {
      const auto channel =
          channels.empty() ? static_cast<int32_t>(c) : channels[h / static_cast<size_t>(per)][static_cast<size_t>(c)];
      rows.push_back(heads[h] * static_cast<int32_t>(head_dim) + channel);
    }
  }
  return rows;
}

LayerOrder draw_layer(const ModelConfig& config, SplitMix64& random) {
  LayerOrder layer;
  layer.ffn = shuffled(config.n_ff, random);
  const int64_t per = config.n_head / config.n_head_kv;
  const Order kv_heads = shuffled(config.n_head_kv, random);
  Order q_heads;
  std::vector<Order> channels;
  for (const int32_t kv : kv_heads) {
    for (const int32_t q : shuffled(per, random)) q_heads.push_back(kv * static_cast<int32_t>(per) + q);
    channels.push_back(shuffled(config.head_dim, random));
  }
  layer.q_rows = head_rows(q_heads, {}, 1, config.head_dim);
  layer.k_rows = head_rows(kv_heads, {}, 1, config.head_dim);
  layer.v_rows = head_rows(kv_heads, channels, 1, config.head_dim);
  layer.o_input = head_rows(q_heads, channels, per, config.head_dim);
  return layer;
}

struct Role {
  const Order* rows = nullptr;     // null: as they are
  const Order* columns = nullptr;  // null: as they are
};

// `suffix`: "attn_q.weight". A vector follows `columns`, its only dimension.
bool find_layer_role(std::string_view suffix, const Order& residual, const LayerOrder& layer, Role& role) {
  struct Row {
    std::string_view name;
    Role role;
  };
  const std::array<Row, 12> roles = {{{"attn_norm.weight", {nullptr, &residual}},
                                      {"ffn_norm.weight", {nullptr, &residual}},
                                      {"attn_q.weight", {&layer.q_rows, &residual}},
                                      {"attn_k.weight", {&layer.k_rows, &residual}},
                                      {"attn_v.weight", {&layer.v_rows, &residual}},
                                      {"attn_q.bias", {nullptr, &layer.q_rows}},
                                      {"attn_k.bias", {nullptr, &layer.k_rows}},
                                      {"attn_v.bias", {nullptr, &layer.v_rows}},
                                      {"attn_output.weight", {&residual, &layer.o_input}},
                                      {"ffn_gate.weight", {&layer.ffn, &residual}},
                                      {"ffn_up.weight", {&layer.ffn, &residual}},
                                      {"ffn_down.weight", {&residual, &layer.ffn}}}};
  const auto* found = std::find_if(roles.begin(), roles.end(), [&](const Row& row) { return row.name == suffix; });
  if (found == roles.end()) return false;
  role = found->role;
  return true;
}

Role find_role(const GgufFile& in, std::string_view name, const ModelOrder& order) {
  if (name == "token_embd.weight" || name == "output.weight" || name == "output_norm.weight") {
    return {nullptr, &order.residual};
  }
  if (name == "rope_freqs.weight") return {};
  for (size_t i = 0; i < order.layers.size(); ++i) {
    const std::string prefix = fmt::format("blk.{}.", i);
    Role role;
    if (name.starts_with(prefix) &&
        find_layer_role(name.substr(prefix.size()), order.residual, order.layers[i], role)) {
      return role;
    }
  }
  fail(ErrorCode::unsupported, "{}: tensor {}: found no rule how its channels are reordered", in.source(), name);
}

void check_size(const GgufFile& in, std::string_view name, const Order* order, int64_t found) {
  if (order == nullptr || order->empty() || static_cast<int64_t>(order->size()) == found) return;
  fail(ErrorCode::corrupt, "{}: tensor {}: found a dimension of {}, expected {}", in.source(), name, found,
       order->size());
}

size_t index_at(const Order* order, int64_t i) {
  return static_cast<size_t>(order == nullptr || order->empty() ? i : (*order)[static_cast<size_t>(i)]);
}

void write_tensor(const GgufFile& in, const GgufTensor& tensor, const Role& role, TensorType to, GgufWriter& writer) {
  const TensorView& view = tensor.view;
  const auto n = static_cast<size_t>(view.n_cols());
  std::vector<float> values(n), ordered(n);
  std::vector<std::byte> bytes(n * traits(to).block_bytes);
  for (int64_t r = 0; r < view.n_rows(); ++r) {
    traits(view.type).decode(view.row(static_cast<int64_t>(index_at(role.rows, r))), values.data(), view.n_cols());
    for (size_t c = 0; c < n; ++c) ordered[c] = values[index_at(role.columns, static_cast<int64_t>(c))];
    for (size_t c = 0; c < n && to == TensorType::f16; ++c) {
      if (std::fabs(ordered[c]) < 65520.0f) continue;  // NaN fails too
      fail(ErrorCode::unsupported, "{}: tensor {}: row {}: found {}, expected a value that f16 can hold", in.source(),
           tensor.name, r, ordered[c]);
    }
    traits(to).encode(ordered.data(), nullptr, bytes.data(), view.n_cols());
    writer.write(bytes);
  }
}

// Sums of squares.
struct SquaredError {
  double error = 0, weight = 0;
  double relative() const { return weight > 0 ? std::sqrt(error / weight) : 0.0; }
};

void add_row(const std::vector<float>& x, TensorType type, SquaredError& sum) {
  std::vector<float> rounded(x.size());
  std::vector<std::byte> blocks(*row_bytes(type, x.size()));
  traits(type).encode(x.data(), nullptr, blocks.data(), static_cast<int64_t>(x.size()));
  traits(type).decode(blocks.data(), rounded.data(), static_cast<int64_t>(x.size()));
  for (size_t i = 0; i < x.size(); ++i) {
    const auto w = static_cast<double>(x[i]);
    const double e = static_cast<double>(rounded[i]) - w;
    sum.error += e * e;
    sum.weight += w * w;
  }
}

SquaredError requantize_rows(const TensorView& view, TensorType type, int64_t rows) {
  std::vector<float> x(static_cast<size_t>(view.n_cols()));
  SquaredError sum;
  const int64_t step = std::max<int64_t>(1, view.n_rows() / rows);
  for (int64_t r = 0; r < view.n_rows(); r += step) {
    traits(view.type).decode(view.row(r), x.data(), view.n_cols());
    add_row(x, type, sum);
  }
  return sum;
}

double noise_error(TensorType type) {
  SplitMix64 random(1);
  std::vector<float> x(8192);
  for (float& v : x) v = static_cast<float>(random.gaussian());
  SquaredError sum;
  add_row(x, type, sum);
  return sum.relative();
}

}  // namespace

ModelOrder draw_order(const ModelConfig& config, uint64_t seed) {
  SplitMix64 random(seed);
  ModelOrder order;
  order.residual = shuffled(config.n_embd, random);
  for (int64_t i = 0; i < config.n_layer; ++i) order.layers.push_back(draw_layer(config, random));
  return order;
}

ModelOrder identity_order(const ModelConfig& config) {
  ModelOrder order;
  order.layers.resize(static_cast<size_t>(config.n_layer));
  return order;
}

void write_float_model(const GgufFile& in, const ModelOrder& order, const std::string& path, const Task& task) {
  GgufMetadata metadata;
  for (const GgufKeyValue& entry : in.metadata()) metadata.set(entry);
  metadata.set_uint32("general.file_type", 1);  // llama_ftype: mostly F16
  std::vector<GgufTensorPlan> plans;
  std::vector<Role> roles;
  uint64_t total = 0;
  for (const GgufTensor& tensor : in.tensors()) {
    if (traits(tensor.view.type).decode == nullptr) {
      fail(ErrorCode::unsupported, "{}: tensor {}: found type {}, expected weights", in.source(), tensor.name,
           traits(tensor.view.type).name);
    }
    roles.push_back(find_role(in, tensor.name, order));
    check_size(in, tensor.name, roles.back().rows, tensor.view.n_rows());
    check_size(in, tensor.name, roles.back().columns, tensor.view.n_cols());
    const TensorType to = tensor.n_dims == 1 ? TensorType::f32 : TensorType::f16;
    plans.push_back({std::string(tensor.name), to, tensor.n_dims, tensor.view.ne});
    total += static_cast<uint64_t>(tensor.view.n_elements());
  }
  GgufWriter writer(path, metadata, plans);
  uint64_t done = 0;
  for (size_t i = 0; i < plans.size(); ++i) {
    const GgufTensor& tensor = in.tensors()[i];
    task.check(path);
    write_tensor(in, tensor, roles[i], plans[i].type, writer);
    in.release(tensor.view.data);
    done += static_cast<uint64_t>(tensor.view.n_elements());
    task.report(done, total, tensor.name);
  }
  writer.commit();
}

RequantizedError requantized_error(const GgufFile& model, const GgufFile& original, int64_t rows) {
  RequantizedError result;
  SquaredError all;
  std::map<TensorType, double> noise;
  for (const GgufTensor& tensor : original.tensors()) {
    const TensorType type = tensor.view.type;
    if (!traits(type).is_quantized) continue;
    if (!noise.contains(type)) noise[type] = noise_error(type);
    const SquaredError sum = requantize_rows(model.tensor(tensor.name).view, type, rows);
    const double share = sum.relative() / noise[type];
    if (result.matrices++ == 0 || share < result.share_of_noise) {
      result.share_of_noise = share;
      result.tensor = tensor.name;
    }
    all.error += sum.error;
    all.weight += sum.weight;
  }
  result.overall = all.relative();
  return result;
}

}  // namespace thimble::bench
