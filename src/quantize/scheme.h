// Schemes (llama.cpp's named per-tensor mixes) and recipes (ordered rules from a TOML file): which tensor gets which type.
// Mixes and shape fallbacks follow llama.cpp v0.5.0 src/llama-quant.cpp (see docs/FORMAT.md for the rules in words).
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/toml.h"
#include "model/model_config.h"
#include "tensor/tensor_type.h"

namespace thimble {

/// Names accepted by --scheme, largest first: f16, q8_0, q6_k, q5_k_m, q5_k_s, q4_k_m, q4_k_s, iq4_nl, q4_1, q4_0, iq4_xs,
/// q3_k_m, q2_k.
std::span<const std::string_view> scheme_names() noexcept;

/// One rule of a recipe: tensors whose name matches the glob (* and ?) get `type`. The first match wins.
struct RecipeRule {
  std::string match;
  TensorType type;
};

/// A base scheme and rules that override it.
struct Recipe {
  std::string name;                // for reports and file names
  std::string scheme;              // base scheme, one of scheme_names()
  std::vector<RecipeRule> rules;   // ordered
};

/// Errors: invalid_argument listing the known schemes.
Recipe recipe_from_scheme(std::string_view scheme);
/// Reads scheme = "q4_k_m", name = "...", [[rule]] match = "...", type = "...". Errors: corrupt, naming file, line, key.
Recipe read_recipe(const std::string& path);
/// Adds fp16 embedding and head ("hot weights") in front of the rules.
Recipe with_hot_weights(Recipe recipe);

/// A tensor as the type choice sees it.
struct TensorShape {
  std::string_view name;
  std::array<int64_t, 4> ne;
  uint32_t n_dims;
  TensorType source_type;
};

struct TypeChoice {
  TensorType type;
  std::string reason;  // "scheme", "rule blk.0.*", "fallback: 576 columns are no multiple of 256", "kept: not quantized"
};

/// Types of all tensors, in their order. Errors: invalid_argument when a rule's type does not fit a tensor's shape.
std::vector<TypeChoice> choose_types(const Recipe& recipe, const ModelConfig& config,
                                     std::span<const TensorShape> tensors, bool has_importance);

/// True when `text` matches the glob `pattern` (* any run, ? one character). Linear time.
bool glob_match(std::string_view pattern, std::string_view text) noexcept;

/// general.file_type value (llama.cpp's LLAMA_FTYPE) of a scheme.
uint32_t file_type_id(std::string_view scheme) noexcept;

}  // namespace thimble
