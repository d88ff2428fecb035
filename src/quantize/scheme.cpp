// llama.cpp's per-tensor type choice (v0.5.0, src/llama-quant.cpp) for the schemes Thimble offers and the architectures
// it reads. tests/golden/mixes holds what stock llama.cpp chose; scripts/make_mix_goldens regenerates it.
#include "quantize/scheme.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <numeric>

#include "base/error.h"
#include "quantize/outlier_branch.h"

namespace thimble {

// Dimensions above the last one that is larger than 1 do not count, as in ggml_n_dims.
bool is_quantizable(const TensorShape& tensor) noexcept {
  const bool matrix = tensor.ne[1] > 1 || tensor.ne[2] > 1 || tensor.ne[3] > 1;
  return matrix && tensor.name.ends_with("weight") && tensor.name.find("_norm.weight") == std::string_view::npos;
}

namespace {

enum class Mix { f16, q8_0, q6_k, q5_k_m, q5_k_s, q4_1, q4_k_m, q4_k_s, iq4_nl, q4_0, iq4_xs, q3_k_m, q2_k, group };

struct Scheme {
  Mix mix;
  TensorType type;     // of tensors no rule of the mix lifts
  uint32_t file_type;  // LLAMA_FTYPE of llama.h
};

// LLAMA_FTYPE_GUESSED, "not specified in the model file": the schemes of our own types have no number there.
constexpr uint32_t kOwnFileType = 1024;

constexpr std::string_view kSchemeNames[] = {"f16",     "q8_0",   "q6_k",    "q5_k_m", "q5_k_s", "i5_g64",
                                             "i5_g128", "q4_1",   "q4_k_m",  "q4_k_s", "iq4_nl", "q4_0",
                                             "i4_g64",  "iq4_xs", "i4_g128", "q3_k_m", "q2_k"};
constexpr Scheme kSchemes[] = {
    {Mix::f16, TensorType::f16, 1},
    {Mix::q8_0, TensorType::q8_0, 7},
    {Mix::q6_k, TensorType::q6_k, 18},
    {Mix::q5_k_m, TensorType::q5_k, 17},
    {Mix::q5_k_s, TensorType::q5_k, 16},
    {Mix::group, TensorType::i5_g64, kOwnFileType},
    {Mix::group, TensorType::i5_g128, kOwnFileType},
    {Mix::q4_1, TensorType::q4_1, 3},
    {Mix::q4_k_m, TensorType::q4_k, 15},
    {Mix::q4_k_s, TensorType::q4_k, 14},
    {Mix::iq4_nl, TensorType::iq4_nl, 25},
    {Mix::q4_0, TensorType::q4_0, 2},
    {Mix::group, TensorType::i4_g64, kOwnFileType},
    {Mix::iq4_xs, TensorType::iq4_xs, 30},
    {Mix::group, TensorType::i4_g128, kOwnFileType},
    {Mix::q3_k_m, TensorType::q3_k, 12},
    {Mix::q2_k, TensorType::q2_k, 10},
};
static_assert(std::size(kSchemeNames) == std::size(kSchemes));

const Scheme* find_scheme(std::string_view name) noexcept {
  const auto* found = std::find(std::begin(kSchemeNames), std::end(kSchemeNames), name);
  return found == std::end(kSchemeNames) ? nullptr : &kSchemes[found - std::begin(kSchemeNames)];
}

enum class Category { token_embedding, output, attn_v, attn_output, ffn_down, other };

Category category_of(std::string_view name) noexcept {
  const auto has = [&](std::string_view part) { return name.find(part) != std::string_view::npos; };
  if (name == "output.weight") return Category::output;
  if (name == "token_embd.weight") return Category::token_embedding;
  if (has("attn_v.weight")) return Category::attn_v;
  if (has("attn_output.weight")) return Category::attn_output;
  if (has("ffn_down")) return Category::ffn_down;
  return Category::other;
}

// "blk.12.attn_v.weight" -> 12; -1 outside the layers.
int64_t layer_of(std::string_view name) noexcept {
  constexpr std::string_view kPrefix = "blk.";
  int64_t layer = -1;
  if (name.starts_with(kPrefix)) std::from_chars(name.data() + kPrefix.size(), name.data() + name.size(), layer);
  return layer;
}

// Position of each tensor among the quantizable ones of its category, in llama.cpp's order: by layer, then by name.
std::vector<int64_t> ranks_in_category(std::span<const TensorShape> tensors) {
  std::vector<size_t> order(tensors.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    const int64_t layer_a = layer_of(tensors[a].name);
    const int64_t layer_b = layer_of(tensors[b].name);
    return layer_a != layer_b ? layer_a < layer_b : tensors[a].name < tensors[b].name;
  });
  std::vector<int64_t> ranks(tensors.size(), 0);
  std::array<int64_t, 6> next{};
  for (const size_t i : order) {
    if (is_quantizable(tensors[i])) ranks[i] = next[static_cast<size_t>(category_of(tensors[i].name))]++;
  }
  return ranks;
}

/// What the choice of one tensor's type depends on besides the tensor.
struct MixState {
  Scheme scheme;
  bool tied_output;
  bool has_importance;
  bool is_70b;
  int64_t n_gqa;
  int64_t n_attn_v;
  int64_t n_layer;
};

MixState make_state(const Scheme& scheme, const ModelConfig& config, std::span<const TensorShape> tensors,
                    bool has_importance) {
  MixState state{scheme, true, has_importance, false, 0, 0, config.n_layer};
  for (const TensorShape& tensor : tensors) {
    const Category category = category_of(tensor.name);
    if (category == Category::output) state.tied_output = false;
    if (category == Category::attn_v) ++state.n_attn_v;
  }
  state.n_gqa = config.n_head_kv > 0 ? config.n_head / config.n_head_kv : 0;
  // llama.cpp tells the model size from the layer count; LLaMA 1 65B (no GQA) has 80 layers too.
  state.is_70b = config.n_layer == 80 && (config.architecture != "llama" || config.n_head != config.n_head_kv);
  return state;
}

// Layers of the first and last eighth and every third between get more bits.
bool use_more_bits(int64_t layer, int64_t n_layer) noexcept {
  return layer < n_layer / 8 || layer >= 7 * n_layer / 8 || (layer - n_layer / 8) % 3 == 2;
}

TensorType attn_v_type(const MixState& s, int64_t rank) noexcept {
  TensorType type = s.scheme.type;
  switch (s.scheme.mix) {
    case Mix::q2_k:
      type = s.n_gqa >= 4 ? TensorType::q4_k : TensorType::q3_k;
      break;
    case Mix::q3_k_m:
      type = rank < 2 ? TensorType::q5_k : TensorType::q4_k;
      break;
    case Mix::iq4_nl:
    case Mix::iq4_xs:
      if (s.n_gqa >= 4) type = TensorType::q5_k;
      break;
    case Mix::q4_k_m:
    case Mix::q5_k_m:
      if (use_more_bits(rank, s.n_attn_v)) type = TensorType::q6_k;
      break;
    case Mix::q4_k_s:
      if (rank < 4) type = TensorType::q5_k;
      break;
    default:
      break;
  }
  // Eight query heads share a value head there: more bits are nearly free.
  if (s.is_70b && (type == TensorType::q3_k || type == TensorType::q4_k)) type = TensorType::q5_k;
  return type;
}

TensorType ffn_down_type(const MixState& s, int64_t rank) noexcept {
  const bool first_eighth = rank < s.n_layer / 8;
  switch (s.scheme.mix) {
    case Mix::q2_k:
      return TensorType::q3_k;
    case Mix::q3_k_m:
      return rank < s.n_layer / 16 ? TensorType::q5_k : TensorType::q4_k;
    case Mix::q4_k_m:
    case Mix::q5_k_m:
      return use_more_bits(rank, s.n_layer) ? TensorType::q6_k : s.scheme.type;
    case Mix::iq4_nl:
    case Mix::iq4_xs:
      return first_eighth && !s.has_importance ? TensorType::q5_k : s.scheme.type;
    case Mix::q4_k_s:
      return first_eighth ? TensorType::q5_k : s.scheme.type;
    case Mix::q4_0:
      return first_eighth && s.has_importance ? TensorType::q4_1 : s.scheme.type;
    default:
      return s.scheme.type;
  }
}

TensorType output_type(const MixState& s, int64_t n_cols) noexcept {
  if (n_cols % traits(s.scheme.type).block_elems != 0) return TensorType::q8_0;
  return s.scheme.type == TensorType::q8_0 ? TensorType::q8_0 : TensorType::q6_k;
}

TensorType attn_output_type(const MixState& s) noexcept {
  if (s.scheme.mix == Mix::q2_k) return TensorType::q3_k;
  if (s.scheme.mix == Mix::q3_k_m) return TensorType::q4_k;
  return s.scheme.type;
}

TensorType scheme_type(const MixState& s, const TensorShape& tensor, int64_t rank) noexcept {
  if (s.scheme.mix == Mix::f16) return TensorType::f16;
  switch (category_of(tensor.name)) {
    case Category::output:
      return output_type(s, tensor.ne[0]);
    case Category::token_embedding:
      return s.tied_output ? output_type(s, tensor.ne[0]) : s.scheme.type;
    case Category::attn_v:
      return attn_v_type(s, rank);
    case Category::attn_output:
      return attn_output_type(s);
    case Category::ffn_down:
      return ffn_down_type(s, rank);
    default:
      return s.scheme.type;
  }
}

TensorType fallback_of(TensorType type) noexcept {
  switch (type) {
    case TensorType::iq4_xs:
      return TensorType::iq4_nl;
    case TensorType::q2_k:
    case TensorType::q3_k:
      return TensorType::q4_0;
    case TensorType::q4_k:
      return TensorType::q5_0;
    case TensorType::q5_k:
      return TensorType::q5_1;
    case TensorType::q6_k:
      return TensorType::q8_0;
    case TensorType::i4_g128:
      return TensorType::i4_g64;
    case TensorType::i4_g64:
      return TensorType::q4_1;
    case TensorType::i5_g128:
      return TensorType::i5_g64;
    case TensorType::i5_g64:
      return TensorType::q5_1;
    default:
      // llama.cpp gives up on types of 32 with columns that are no multiple of 32; f16 is its answer one step later.
      return TensorType::f16;
  }
}

void apply_shape_fallback(TypeChoice& choice, int64_t n_cols) {
  const uint32_t block = traits(choice.type).block_elems;
  if (n_cols % block == 0) return;
  choice.reason += fmt::format("; fallback: {} columns are no multiple of {}", n_cols, block);
  while (n_cols % traits(choice.type).block_elems != 0) choice.type = fallback_of(choice.type);
}

int64_t outlier_channels(const OutlierBudget& budget, const TensorShape& tensor, const TypeChoice& choice) {
  // Outlier branches are beside matrices; three dimensions are a stack of them.
  if (!traits(choice.type).is_quantized || tensor.ne[2] != 1 || tensor.ne[3] != 1) return 0;
  if (budget.channels > 0) return std::min(budget.channels, tensor.ne[0]);
  return budget.bits > 0.0 ? outliers_in_budget(budget.bits, tensor.ne[1], tensor.ne[0]) : 0;
}

TypeChoice choose_type(const Recipe& recipe, const MixState& state, const TensorShape& tensor, int64_t rank) {
  if (!is_quantizable(tensor)) return {tensor.source_type, "kept: norm, bias or other small tensor"};
  TypeChoice choice{scheme_type(state, tensor, rank), "scheme"};
  const Category category = category_of(tensor.name);
  const bool hot = category == Category::output || category == Category::token_embedding;
  OutlierBudget budget = hot ? OutlierBudget{} : recipe.outliers;
  for (const RecipeRule& rule : recipe.rules) {
    if (!glob_match(rule.match, tensor.name)) continue;
    choice = {rule.type, "rule " + rule.match};
    budget = rule.outliers.value_or(budget);
    break;
  }
  apply_shape_fallback(choice, tensor.ne[0]);
  choice.outliers = outlier_channels(budget, tensor, choice);
  if (choice.outliers > 0) choice.reason += fmt::format("; {} outlier channels", choice.outliers);
  return choice;
}

}  // namespace

std::span<const std::string_view> scheme_names() noexcept {
  return kSchemeNames;
}

uint32_t file_type_id(std::string_view scheme) noexcept {
  const Scheme* found = find_scheme(scheme);
  return found != nullptr ? found->file_type : 1;
}

std::vector<TypeChoice> choose_types(const Recipe& recipe, const ModelConfig& config,
                                     std::span<const TensorShape> tensors, bool has_importance) {
  const Scheme* scheme = find_scheme(recipe.scheme);
  if (scheme == nullptr) {
    fail(ErrorCode::invalid_argument, "recipe {}: scheme '{}' is not known, expected one of: {}", recipe.name,
         recipe.scheme, fmt::join(scheme_names(), ", "));
  }
  for (const RecipeRule& rule : recipe.rules) {
    if (traits(rule.type).encode == nullptr) {
      fail(ErrorCode::invalid_argument, "recipe {}: rule {}: found type {}, expected a type that holds weights",
           recipe.name, rule.match, traits(rule.type).name);
    }
  }
  const MixState state = make_state(*scheme, config, tensors, has_importance);
  const std::vector<int64_t> ranks = ranks_in_category(tensors);
  std::vector<TypeChoice> out;
  out.reserve(tensors.size());
  for (size_t i = 0; i < tensors.size(); ++i) out.push_back(choose_type(recipe, state, tensors[i], ranks[i]));
  return out;
}

}  // namespace thimble
