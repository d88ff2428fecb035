// Recipes: from a scheme name, from TOML, from command-line rules; and the glob they match tensor names with.
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <filesystem>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "quantize/scheme.h"

namespace thimble {

namespace {

constexpr uint64_t kMaxRecipeBytes = 1 << 20;

bool is_weight_type(const TypeTraits& traits) {
  return traits.encode != nullptr && traits.type != TensorType::f64;
}

std::string weight_type_names() {
  std::vector<std::string_view> names;
  for (const TypeTraits& traits : all_types()) {
    if (is_weight_type(traits)) names.push_back(traits.name);
  }
  return fmt::format("{}", fmt::join(names, ", "));
}

bool is_scheme(std::string_view name) {
  const auto names = scheme_names();
  return std::find(names.begin(), names.end(), name) != names.end();
}

std::optional<OutlierBudget> read_outliers(const TomlTable& table) {
  if (!table.has("outliers") && !table.has("outlier_bits")) return std::nullopt;
  if (table.has("outliers") && table.has("outlier_bits")) {
    fail(ErrorCode::corrupt, "{}: line {}: key 'outlier_bits': found it beside 'outliers', expected one of them",
         table.source(), table.line());
  }
  OutlierBudget budget;
  budget.channels = table.integer("outliers", 0, kMaxOutliers, 0);
  budget.bits = table.number("outlier_bits", 0.0);
  if (budget.bits < 0.0 || budget.bits > kMaxOutlierBits) {
    fail(ErrorCode::corrupt, "{}: line {}: key 'outlier_bits': found {}, expected 0 to {} bits per weight",
         table.source(), table.line(), budget.bits, kMaxOutlierBits);
  }
  return budget;
}

RecipeRule read_rule(const TomlTable& table) {
  table.only({"match", "type", "outliers", "outlier_bits"});
  RecipeRule rule{table.string("match"), TensorType::f16, read_outliers(table)};
  if (rule.match.empty()) {
    fail(ErrorCode::corrupt, "{}: line {}: key 'match': found an empty pattern, expected a glob such as blk.0.*",
         table.source(), table.line());
  }
  const std::string type_name = table.string("type");
  const TypeTraits* traits = find_type(std::string_view(type_name));
  if (traits == nullptr || !is_weight_type(*traits)) {
    fail(ErrorCode::corrupt, "{}: line {}: key 'type': found '{}', expected one of: {}", table.source(), table.line(),
         type_name, weight_type_names());
  }
  rule.type = traits->type;
  return rule;
}

constexpr std::array<std::string_view, 3> kFoldNames = {"none", "awq", "smooth"};

// A name read from a file: what is wrong with it is the file's fault, at its line.
template <typename FromName>
auto read_name(const TomlTable& table, std::string_view key, std::string_view fallback, FromName from_name) {
  const std::string name = table.string(key, fallback);
  try {
    return from_name(name);
  } catch (const Error& e) {
    fail(ErrorCode::corrupt, "{}: line {}: key '{}': {}", table.source(), table.line(), key, e.what());
  }
}

RoundingSettings read_rounding(const TomlTable& table, const RoundingSettings& fallback) {
  RoundingSettings out = fallback;
  out.method = read_name(table, "method", rounding_method_name(fallback.method), rounding_method_from_name);
  out.sweeps = static_cast<int>(table.integer("sweeps", 1, 100, fallback.sweeps));
  if (table.has("damp")) out.damps = {table.number("damp")};
  try {
    check_rounding_settings(out);
  } catch (const Error& e) {
    fail(ErrorCode::corrupt, "{}: line {}: key 'damp': {}", table.source(), table.line(), e.what());
  }
  return out;
}

}  // namespace

std::string_view fold_method_name(FoldMethod method) noexcept {
  return kFoldNames[static_cast<size_t>(method)];
}

FoldMethod fold_method_from_name(std::string_view name) {
  const auto* const found = std::find(kFoldNames.begin(), kFoldNames.end(), name);
  if (found == kFoldNames.end()) {
    fail(ErrorCode::invalid_argument, "fold: found '{}', expected one of: {}", name, fmt::join(kFoldNames, ", "));
  }
  return static_cast<FoldMethod>(found - kFoldNames.begin());
}

std::string recipe_identity(const Recipe& recipe) {
  const auto rounding = [](const RoundingSettings& r) {
    return Json{std::string(rounding_method_name(r.method)), r.damps, r.sweeps};
  };
  const auto outliers = [](const OutlierBudget& budget) { return Json{budget.channels, budget.bits}; };
  Json rules = Json::array(), rounding_rules = Json::array();
  for (const RecipeRule& r : recipe.rules) {
    rules.push_back({r.match, std::string(traits(r.type).name), r.outliers ? outliers(*r.outliers) : Json()});
  }
  for (const RoundingRule& r : recipe.rounding_rules) rounding_rules.push_back({r.match, rounding(r.rounding)});
  return Json{recipe.scheme,
              std::move(rules),
              std::string(fold_method_name(recipe.fold)),
              rounding(recipe.rounding),
              std::move(rounding_rules),
              outliers(recipe.outliers)}
      .dump();
}

Recipe with_default_rounding(Recipe recipe, bool has_second_moments) {
  if (has_second_moments && !recipe.names_rounding) recipe.rounding.method = RoundingMethod::best;
  return recipe;
}

const RoundingSettings& rounding_of(const Recipe& recipe, std::string_view tensor) noexcept {
  for (const RoundingRule& rule : recipe.rounding_rules) {
    if (glob_match(rule.match, tensor)) return rule.rounding;
  }
  return recipe.rounding;
}

Recipe recipe_from_scheme(std::string_view scheme) {
  if (!is_scheme(scheme)) {
    fail(ErrorCode::invalid_argument, "scheme '{}' is not known, expected one of: {}", scheme,
         fmt::join(scheme_names(), ", "));
  }
  Recipe recipe;
  recipe.name = scheme;
  recipe.scheme = scheme;
  return recipe;
}

Recipe read_recipe(const std::string& path) {
  return parse_recipe(read_file(path, kMaxRecipeBytes), path);
}

Recipe parse_recipe(std::string_view text, const std::string& source) {
  const TomlTable table = TomlTable::parse(text, source);
  table.only({"name", "scheme", "rule", "fold", "method", "damp", "sweeps", "rounding", "outliers", "outlier_bits"});
  Recipe recipe;
  recipe.name = table.string("name", std::filesystem::path(source).stem().string());
  recipe.scheme = table.string("scheme");
  if (!is_scheme(recipe.scheme)) {
    fail(ErrorCode::corrupt, "{}: line {}: key 'scheme': found '{}', expected one of: {}", source, table.line(),
         recipe.scheme, fmt::join(scheme_names(), ", "));
  }
  recipe.outliers = read_outliers(table).value_or(OutlierBudget{});
  for (const TomlTable& rule : table.tables("rule")) recipe.rules.push_back(read_rule(rule));
  recipe.fold = read_name(table, "fold", "none", fold_method_from_name);
  recipe.rounding = read_rounding(table, recipe.rounding);
  recipe.names_rounding = table.has("method") || !table.tables("rounding").empty();
  for (const TomlTable& rule : table.tables("rounding")) {
    rule.only({"match", "method", "damp", "sweeps"});
    recipe.rounding_rules.push_back({rule.string("match"), read_rounding(rule, recipe.rounding)});
  }
  return recipe;
}

RecipeRule parse_rule(std::string_view text) {
  const size_t equals = text.rfind('=');
  if (equals == std::string_view::npos || equals == 0) {
    fail(ErrorCode::invalid_argument, "rule '{}': expected GLOB=TYPE, for example blk.0.*=q6_k", text);
  }
  const TypeTraits* traits = find_type(text.substr(equals + 1));
  if (traits == nullptr || !is_weight_type(*traits)) {
    fail(ErrorCode::invalid_argument, "rule '{}': found type '{}', expected one of: {}", text, text.substr(equals + 1),
         weight_type_names());
  }
  return RecipeRule{std::string(text.substr(0, equals)), traits->type};
}

Recipe with_hot_weights(Recipe recipe, TensorType type) {
  recipe.name += "+hot";
  if (type != TensorType::f16) recipe.name += fmt::format("-{}", traits(type).name);
  recipe.rules.insert(recipe.rules.begin(), {{"token_embd.weight", type}, {"output.weight", type}});
  return recipe;
}

bool glob_match(std::string_view pattern, std::string_view text) noexcept {
  // Only the last star is ever retried: an earlier one cannot do better, as it already took the shortest run. That
  // bounds the work by |pattern| * |text|; retrying every star would be exponential.
  size_t p = 0;
  size_t t = 0;
  size_t star = std::string_view::npos;
  size_t star_text = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      star_text = t;
    } else if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == text[t])) {
      ++p;
      ++t;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      t = ++star_text;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

}  // namespace thimble
