// The header of a file and the tensors that are not allocated are of fixed size, so that a target leaves an exact
// budget for the others: with paddings for a file, without for bits per weight.
#include "quantize/allocation_plan.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <unordered_map>

#include "base/checked.h"
#include "base/error.h"
#include "format/gguf_writer.h"

namespace thimble {

namespace {

bool is_embedding_or_head(std::string_view name) noexcept {
  return name == "token_embd.weight" || name == "output.weight";
}

bool is_named_by_rule(const Recipe& recipe, std::string_view name) noexcept {
  return std::any_of(recipe.rules.begin(), recipe.rules.end(),
                     [&](const RecipeRule& rule) { return glob_match(rule.match, name); });
}

bool contains(const std::vector<TensorType>& types, TensorType type) noexcept {
  return std::find(types.begin(), types.end(), type) != types.end();
}

std::string names_of(const std::vector<TensorType>& types) {
  std::vector<std::string_view> names;
  for (const TensorType type : types) names.push_back(traits(type).name);
  return fmt::format("{}", fmt::join(names, ", "));
}

// Bytes of a tensor in a type, in the measure of the target.
uint64_t cost(const GgufTensor& tensor, TensorType type, const SizeTarget& target) {
  const uint64_t bytes = gguf_tensor_bytes({std::string(tensor.name), type, tensor.n_dims, tensor.view.ne});
  if (target.measure != SizeTarget::Measure::file_bytes) return bytes;
  const auto padded = checked_align(bytes, kGgufDefaultAlignment);
  if (!padded) fail(ErrorCode::resource_exhausted, "tensor {}: its size does not fit 64 bits", tensor.name);
  return *padded;
}

// The most bytes the counted tensors may take together.
uint64_t budget_of(const GgufFile& input, const SizeTarget& target) {
  if (target.measure == SizeTarget::Measure::file_bytes) return static_cast<uint64_t>(target.value);
  double elements = 0;
  for (const GgufTensor& tensor : input.tensors()) {
    if (target.measure == SizeTarget::Measure::body_bits_per_weight && is_embedding_or_head(tensor.name)) continue;
    elements += static_cast<double>(tensor.view.n_elements());
  }
  return static_cast<uint64_t>(elements * target.value / 8.0);
}

// What the result of a plan takes in the measure of the target.
uint64_t used_by(const GgufFile& input, const QuantizeResult& sizes, const SizeTarget& target) {
  if (target.measure == SizeTarget::Measure::file_bytes) return sizes.file_bytes;
  uint64_t bytes = 0;
  for (const GgufTensor& tensor : input.tensors()) {
    if (target.measure == SizeTarget::Measure::body_bits_per_weight && is_embedding_or_head(tensor.name)) continue;
    const auto found = std::find_if(sizes.tensors.begin(), sizes.tensors.end(),
                                    [&](const QuantizedTensor& t) { return t.name == tensor.name; });
    if (found != sizes.tensors.end()) bytes += found->bytes;
  }
  return bytes;
}

std::string describe(uint64_t bytes, const GgufFile& input, const SizeTarget& target) {
  if (target.measure == SizeTarget::Measure::file_bytes) return fmt::format("{} bytes", bytes);
  SizeTarget one = target;
  one.value = 8.0;
  const auto elements = static_cast<double>(budget_of(input, one));
  const bool body = target.measure == SizeTarget::Measure::body_bits_per_weight;
  // Rounded up: a target of the number printed can be reached.
  const double bits = std::ceil(8.0 * static_cast<double>(bytes) / elements * 1e4) / 1e4;
  return fmt::format("{:.4f} bits per weight{}", bits, body ? " of the body" : "");
}

std::vector<AllocationItem> make_items(const GgufFile& input, std::span<const AllocatableTensor> tensors,
                                       std::span<const TypeLoss> losses, const SizeTarget& target) {
  std::unordered_map<std::string, double> by_key;
  const auto key = [](std::string_view tensor, TensorType type) {
    return fmt::format("{}={}", tensor, traits(type).name);
  };
  for (const TypeLoss& loss : losses) by_key[key(loss.tensor, loss.type)] = loss.loss;
  std::vector<AllocationItem> items;
  for (const AllocatableTensor& tensor : tensors) {
    AllocationItem& item = items.emplace_back();
    item.tensors = {tensor.name};
    for (const TensorType type : tensor.types) {
      const auto found = by_key.find(key(tensor.name, type));
      if (found == by_key.end()) {
        fail(ErrorCode::invalid_argument, "allocation: tensor {}: no loss is known of {}", tensor.name,
             traits(type).name);
      }
      item.options.push_back({type, cost(input.tensor(tensor.name), type, target), found->second});
    }
  }
  return items;
}

Recipe with_types(const Recipe& base, const std::vector<AllocationItem>& items, const std::vector<size_t>& choice) {
  Recipe out = base;
  out.name += "+allocated";
  for (size_t i = 0; i < items.size(); ++i) {
    for (const std::string& name : items[i].tensors) out.rules.push_back({name, items[i].options[choice[i]].type});
  }
  return out;
}

}  // namespace

SizeTarget parse_target_size(std::string_view text) {
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  std::string unit;
  for (const char* c = end; c != text.data() + text.size(); ++c) {
    if (*c != ' ') unit += static_cast<char>(*c >= 'a' && *c <= 'z' ? *c - 'a' + 'A' : *c);
  }
  struct Unit {
    std::string_view name;
    double bytes;
  };
  constexpr Unit kUnits[] = {{"", 1},     {"B", 1},        {"KB", 1e3},     {"MB", 1e6},
                             {"GB", 1e9}, {"KIB", 0x1p10}, {"MIB", 0x1p20}, {"GIB", 0x1p30}};
  const auto* found = std::find_if(std::begin(kUnits), std::end(kUnits), [&](const Unit& u) { return u.name == unit; });
  const double bytes = found == std::end(kUnits) ? 0 : std::floor(number * found->bytes);
  if (error != std::errc() || !std::isfinite(number) || bytes < 1 || bytes > 0x1p53) {
    fail(ErrorCode::invalid_argument, "size '{}': expected a number of bytes above 0, with KB, MB, GB, KiB, MiB or GiB",
         text);
  }
  return {SizeTarget::Measure::file_bytes, bytes};
}

std::vector<TensorType> default_allocation_types(int64_t n_in) {
  if (n_in % 256 == 0) {
    return {TensorType::q3_k, TensorType::iq4_xs, TensorType::q4_k,
            TensorType::q5_k, TensorType::q6_k,   TensorType::q8_0};
  }
  if (n_in % 32 == 0) {
    return {TensorType::iq4_nl, TensorType::q4_1, TensorType::q5_0, TensorType::q5_1, TensorType::q8_0};
  }
  return {};
}

std::vector<AllocatableTensor> allocatable_tensors(const GgufFile& input, const Recipe& base, const SizeTarget& target,
                                                   const AllocationTypes& types) {
  std::vector<AllocatableTensor> out;
  for (const GgufTensor& tensor : input.tensors()) {
    const TensorShape shape = {tensor.name, tensor.view.ne, tensor.n_dims, tensor.view.type};
    if (!is_quantizable(shape) || is_named_by_rule(base, tensor.name)) continue;
    if (target.measure == SizeTarget::Measure::body_bits_per_weight && is_embedding_or_head(tensor.name)) continue;
    const std::vector<TensorType> defaults = default_allocation_types(tensor.view.ne[0]);
    if (defaults.empty()) continue;  // no block divides the rows: the fallback keeps them at f16
    std::vector<TensorType> usable;
    for (const TensorType type : types.candidates.empty() ? defaults : types.candidates) {
      const bool fits = tensor.view.ne[0] % traits(type).block_elems == 0;
      if (fits && (types.fast.empty() || contains(types.fast, type)) && !contains(usable, type)) usable.push_back(type);
    }
    if (usable.empty()) {
      fail(ErrorCode::invalid_argument,
           "{}: tensor {}: none of the types to choose from ({}) suits rows of {} columns{}", input.source(),
           tensor.name, names_of(types.candidates.empty() ? defaults : types.candidates), tensor.view.ne[0],
           types.fast.empty() ? "" : " and is fast on the device (" + names_of(types.fast) + ")");
    }
    out.push_back({std::string(tensor.name), std::move(usable)});
  }
  if (out.empty()) {
    fail(ErrorCode::invalid_argument, "{}: found no tensor whose type is to be chosen: rules name them all",
         input.source());
  }
  return out;
}

AllocationPlan plan_allocation(const GgufFile& input, const Recipe& base, std::span<const AllocatableTensor> tensors,
                               std::span<const TypeLoss> losses, const SizeTarget& target, const PlanFn& plan) {
  const std::vector<AllocationItem> items = make_items(input, tensors, losses, target);
  // The size of all that is not allocated, from a plan with any choice: metadata does not depend on types.
  const std::vector<size_t> first(items.size(), 0);
  uint64_t fixed = used_by(input, plan(with_types(base, items, first)), target);
  for (const AllocationItem& item : items) fixed -= item.options.front().bytes;
  const uint64_t budget = budget_of(input, target);
  const uint64_t smallest = fixed + smallest_allocation(items);
  if (budget < smallest) {
    fail(ErrorCode::invalid_argument,
         "{}: found a target of {}, expected at least {}, the smallest that these types allow", input.source(),
         describe(budget, input, target), describe(smallest, input, target));
  }
  const Allocation allocation = allocate(items, budget - fixed);
  AllocationPlan out;
  out.recipe = with_types(base, items, allocation.choice);
  out.sizes = plan(out.recipe);
  out.loss = allocation.loss;
  out.loss_bound = allocation.loss_bound;
  const uint64_t used = used_by(input, out.sizes, target);
  if (used > budget) fail(ErrorCode::internal, "allocation: planned {} bytes for a budget of {}", used, budget);
  out.bytes_left = budget - used;
  return out;
}

}  // namespace thimble
