// Schemes (llama.cpp's named per-tensor mixes) and recipes (ordered rules from a TOML file): which tensor gets which
// type. Mixes and shape fallbacks follow llama.cpp v0.5.0 src/llama-quant.cpp (see docs/FORMAT.md for the rules in
// words), with one difference on purpose: a rule changes the tensors it names and no others. (There, an overridden
// tensor does not advance the layer counters, so that overriding layer 0 shifts the mix of every later layer.)
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
#include "quantize/rounding.h"
#include "tensor/tensor_type.h"

namespace thimble {

/// Names accepted by --scheme, largest first: f16, q8_0, q6_k, q5_k_m, q5_k_s, i5_g64, i5_g128, q4_1, q4_k_m, q4_k_s,
/// iq4_nl, q4_0, i4_g64, iq4_xs, i4_g128, q3_k_m, q2_k.
std::span<const std::string_view> scheme_names() noexcept;

/// How many input channels a matrix keeps in f16 beside its quantized rest (outlier_branch.h): a count, or as many as a
/// budget of bits per weight pays for.
struct OutlierBudget {
  int64_t channels = 0;
  double bits = 0.0;  // counts when channels is 0
};
constexpr int64_t kMaxOutliers = 65536;
constexpr double kMaxOutlierBits = 16.0;  // every channel

/// One rule of a recipe: tensors whose name matches the glob (* and ?) get `type`. The first match wins. Tensors that
/// no scheme quantizes (norms, biases and everything of one dimension) keep their type whatever the rules say.
struct RecipeRule {
  std::string match;
  TensorType type;
  std::optional<OutlierBudget> outliers = {};  // none: the recipe's
};

/// Tensors whose name matches the glob are rounded by these settings. The first match wins.
struct RoundingRule {
  std::string match;
  RoundingSettings rounding;
};

/// What moves factors between matrices before they are rounded (awq.h, smooth.h).
enum class FoldMethod { none, awq, smooth };

/// "none", "awq", "smooth".
std::string_view fold_method_name(FoldMethod method) noexcept;
/// Errors: invalid_argument, listing the names.
FoldMethod fold_method_from_name(std::string_view name);

/// A base scheme, rules that override it, and how its types are reached.
struct Recipe {
  std::string name;               // for reports and file names
  std::string scheme;             // base scheme, one of scheme_names()
  std::vector<RecipeRule> rules;  // ordered
  FoldMethod fold = FoldMethod::none;
  RoundingSettings rounding = {RoundingMethod::search};  // of tensors that no rounding rule names
  bool names_rounding = false;                           // somebody asked for this method, also where it is search
  std::vector<RoundingRule> rounding_rules;              // ordered
  OutlierBudget outliers = {};  // of every quantized matrix but token_embd.weight and output.weight
};

/// All that decides what a recipe writes, its name apart: part of keys of finished work.
std::string recipe_identity(const Recipe& recipe);

/// The recipe itself when it names a way of rounding; otherwise, with second moments at hand, tensors are rounded by
/// `best`.
Recipe with_default_rounding(Recipe recipe, bool has_second_moments);

/// How a recipe rounds a tensor.
const RoundingSettings& rounding_of(const Recipe& recipe, std::string_view tensor) noexcept;

/// Errors: invalid_argument listing the known schemes.
Recipe recipe_from_scheme(std::string_view scheme);
/// Reads scheme = "q4_k_m", name = "...", fold = "awq", method = "best", damp = 0.03 (without: the best of several),
/// sweeps = 6, outliers = 8 or outlier_bits = 0.05; [[rule]] match = "...", type = "...", outliers or outlier_bits;
/// [[rounding]] match = "...", method, damp, sweeps as above. Errors: as TomlTable::read; corrupt, naming file, line,
/// key.
Recipe read_recipe(const std::string& path);
/// As read_recipe, from text. `source` names it in errors and, without its folder and ending, is the default name.
Recipe parse_recipe(std::string_view text, const std::string& source);
/// A rule from the command line, "GLOB=TYPE". Errors: invalid_argument.
RecipeRule parse_rule(std::string_view text);
/// Adds embedding and head in this type ("hot weights") in front of the rules.
Recipe with_hot_weights(Recipe recipe, TensorType type = TensorType::f16);

/// A tensor as the type choice sees it.
struct TensorShape {
  std::string_view name;
  std::array<int64_t, 4> ne;
  uint32_t n_dims;
  TensorType source_type;
};

/// True for the tensors that schemes quantize: weights of two dimensions and more that are no norms.
bool is_quantizable(const TensorShape& tensor) noexcept;

struct TypeChoice {
  TensorType type;
  std::string reason;  // "scheme", "rule blk.0.*", "scheme; fallback: 576 columns are no multiple of 256", "kept: ..."
  int64_t outliers = 0;  // channels beside it in f16; 0 for types that are not block-quantized
};

/// Types of all tensors, in their order. A type whose block does not divide the columns falls back as in llama.cpp
/// (q4_k -> q5_0, q5_k -> q5_1, q6_k -> q8_0, q2_k and q3_k -> q4_0, iq4_xs -> iq4_nl, and f16 where 32 does not divide
/// them either; groups of 128 -> 64 -> q4_1 or q5_1), whether the type came from the scheme or from a rule; the reason
/// says so. Errors: invalid_argument for an unknown scheme or a rule to a type that holds no weights (i32, f64, ...).
std::vector<TypeChoice> choose_types(const Recipe& recipe, const ModelConfig& config,
                                     std::span<const TensorShape> tensors, bool has_importance);

/// True when `text` matches the glob `pattern` (* any run, ? one character). At most |pattern| * |text| steps.
bool glob_match(std::string_view pattern, std::string_view text) noexcept;

/// general.file_type value (llama.cpp's LLAMA_FTYPE) of a scheme, "guessed" (1024) for those of our own types; f16's
/// for an unknown one.
uint32_t file_type_id(std::string_view scheme) noexcept;

}  // namespace thimble
