#include "device/plan.h"

#include <algorithm>
#include <limits>

#include "base/checked.h"
#include "base/error.h"
#include "model/model.h"

namespace thimble {

namespace {

constexpr uint64_t kTooMuch = std::numeric_limits<uint64_t>::max();

// Sums that do not fit 64 bits fit no device either.
uint64_t saturating_add(uint64_t a, uint64_t b) noexcept {
  return checked_add(a, b).value_or(kTooMuch);
}
uint64_t saturating_mul(uint64_t a, uint64_t b) noexcept {
  return checked_mul(a, b).value_or(kTooMuch);
}

bool is_matrix(const SizedTensor& tensor) noexcept {
  return tensor.ne[1] > 1 && tensor.name.ends_with(".weight");
}

struct TensorSize {
  uint64_t row_bytes;
  uint64_t bytes;
  uint64_t elements;
};

TensorSize size_of(const SizedTensor& tensor) {
  uint64_t n_rows = 1;
  for (size_t d = 1; d < 4; ++d)
    n_rows = saturating_mul(n_rows, static_cast<uint64_t>(std::max<int64_t>(0, tensor.ne[d])));
  const auto n_cols = static_cast<uint64_t>(std::max<int64_t>(0, tensor.ne[0]));
  const auto row = row_bytes(tensor.type, n_cols);
  const auto bytes = row ? checked_mul(*row, n_rows) : std::nullopt;
  const auto elements = checked_mul(n_cols, n_rows);
  if (!bytes || !elements) {
    fail(ErrorCode::invalid_argument,
         "tensor {}: found {} columns and {} rows of {}, expected rows that are a multiple of {}", tensor.name,
         tensor.ne[0], n_rows, traits(tensor.type).name, traits(tensor.type).block_elems);
  }
  return {*row, *bytes, *elements};
}

/// One token's or one batch's cost on a device.
struct Cost {
  double bytes;
  double ops;
};

double seconds_of(const Cost& cost, const DeviceProfile& device) noexcept {
  return std::max(cost.bytes / device.decode_bytes_per_s(), cost.ops / device.prefill_ops_per_s());
}

double watts_of(const Cost& cost, double seconds, const DeviceProfile& device) noexcept {
  const double joules = (device.pj_per_byte * cost.bytes + device.pj_per_op * cost.ops) * 1e-12;
  return device.watts_idle + joules / seconds;
}

uint64_t total_bytes(const ModelFootprint& model, int64_t context, ops::KvType kv, int64_t n_batch, int n_threads) {
  const uint64_t kv_bytes = saturating_mul(kv_bytes_per_token(model.config, kv), static_cast<uint64_t>(context));
  const uint64_t activations = forward_scratch_bytes(model.config, n_batch, context, n_threads);
  return saturating_add(model.weight_bytes, saturating_add(kv_bytes, activations));
}

// The total grows with the context, so the largest that fits is found by halving: exact, whatever the formula.
int64_t largest_context(const ModelFootprint& model, uint64_t available, ops::KvType kv, int64_t n_batch,
                        int n_threads) {
  int64_t fits = 0;
  int64_t limit = model.config.n_ctx_train;
  while (fits < limit) {
    const int64_t middle = fits + (limit - fits + 1) / 2;
    if (total_bytes(model, middle, kv, n_batch, n_threads) <= available) {
      fits = middle;
    } else {
      limit = middle - 1;
    }
  }
  return fits;
}

void plan_speed(const ModelFootprint& model, const DeviceProfile& device, int64_t n_batch, DevicePlan* plan) {
  const auto weights = static_cast<double>(model.bytes_read_per_token);
  const double decode_ops = 2.0 * static_cast<double>(model.weights_multiplied);
  const Cost full{weights + static_cast<double>(plan->kv_bytes), decode_ops};
  const double seconds = seconds_of(full, device);
  plan->decode_tokens_per_s = 1.0 / seconds;
  plan->decode_tokens_per_s_empty = 1.0 / seconds_of({weights, decode_ops}, device);
  plan->decode_watts = watts_of(full, seconds, device);
  plan->joules_per_token = plan->decode_watts * seconds;
  const Cost prefill{weights / static_cast<double>(n_batch),
                     2.0 * static_cast<double>(model.weights_multiplied - model.head_weights)};
  const double prefill_seconds = seconds_of(prefill, device);
  plan->prefill_tokens_per_s = 1.0 / prefill_seconds;
  plan->prefill_watts = watts_of(prefill, prefill_seconds, device);
  plan->too_slow = plan->decode_tokens_per_s < device.min_decode_tokens_per_s;
  plan->too_hot = device.watts_limit > 0 && plan->decode_watts > device.watts_limit;
}

}  // namespace

ModelFootprint footprint(const ModelConfig& config, std::span<const SizedTensor> tensors) {
  const bool tied = std::none_of(tensors.begin(), tensors.end(),
                                 [](const SizedTensor& tensor) { return tensor.name == "output.weight"; });
  ModelFootprint model;
  model.config = config;
  for (const SizedTensor& tensor : tensors) {
    const TensorSize size = size_of(tensor);
    const bool is_embedding = tensor.name == "token_embd.weight";
    const bool is_head = tensor.name == "output.weight" || (is_embedding && tied);
    model.weight_bytes = saturating_add(model.weight_bytes, size.bytes);
    // A tied embedding is read whole as the head; its one row as an embedding is a rounding error.
    const uint64_t read = is_embedding && !tied ? size.row_bytes : size.bytes;
    model.bytes_read_per_token = saturating_add(model.bytes_read_per_token, read);
    if (!is_matrix(tensor) || (is_embedding && !tied)) continue;
    model.weights_multiplied = saturating_add(model.weights_multiplied, size.elements);
    if (is_head) model.head_weights = saturating_add(model.head_weights, size.elements);
  }
  return model;
}

ModelFootprint footprint(const GgufFile& gguf) {
  std::vector<SizedTensor> tensors;
  tensors.reserve(gguf.tensors().size());
  for (const GgufTensor& tensor : gguf.tensors()) tensors.push_back({tensor.name, tensor.view.ne, tensor.view.type});
  return footprint(read_model_config(gguf), tensors);
}

DevicePlan make_plan(const ModelFootprint& model, const DeviceProfile& device, int64_t context, ops::KvType kv,
                     int64_t n_batch, int n_threads) {
  if (context < 0 || context > model.config.n_ctx_train) {
    fail(ErrorCode::invalid_argument, "context: found {}, expected 1 to {}, the trained context", context,
         model.config.n_ctx_train);
  }
  if (n_batch < 1 || n_threads < 1) {
    fail(ErrorCode::invalid_argument, "plan: found a batch of {} and {} threads, expected at least 1", n_batch,
         n_threads);
  }
  DevicePlan plan;
  plan.context = context > 0 ? context : std::min(device.context, model.config.n_ctx_train);
  plan.weight_bytes = model.weight_bytes;
  plan.kv_bytes = saturating_mul(kv_bytes_per_token(model.config, kv), static_cast<uint64_t>(plan.context));
  plan.activation_bytes = forward_scratch_bytes(model.config, n_batch, plan.context, n_threads);
  plan.total_bytes = total_bytes(model, plan.context, kv, n_batch, n_threads);
  plan.available_bytes = device.app_memory_bytes;
  plan.fits = plan.total_bytes <= plan.available_bytes;
  plan.largest_context = largest_context(model, plan.available_bytes, kv, n_batch, n_threads);
  plan_speed(model, device, n_batch, &plan);
  return plan;
}

}  // namespace thimble
