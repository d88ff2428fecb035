// The list of candidates: built in, or read from TOML.
#include "squeeze/candidates.h"

#include <algorithm>
#include <filesystem>
#include <unordered_set>

#include "base/error.h"

namespace thimble {

namespace {

void add_group(std::vector<Recipe>& out, const TomlTable& group, const std::filesystem::path& folder) {
  std::vector<bool> hot = group.booleans("hot_weights");
  if (hot.empty()) hot.push_back(false);
  for (const std::string& scheme : group.strings("schemes")) {
    const auto known = scheme_names();
    if (std::find(known.begin(), known.end(), scheme) == known.end()) {
      fail(ErrorCode::corrupt, "{}: line {}: key 'schemes': found '{}', expected one of: {}", group.source(),
           group.line(), scheme, fmt::join(known, ", "));
    }
    for (const bool with_hot : hot) {
      Recipe recipe = recipe_from_scheme(scheme);
      out.push_back(with_hot ? with_hot_weights(std::move(recipe)) : std::move(recipe));
    }
  }
  for (const std::string& file : group.strings("recipes")) out.push_back(read_recipe((folder / file).string()));
}

// Two candidates of one name would write the same file.
void check_names(const std::vector<Recipe>& recipes, const std::string& source) {
  if (recipes.empty()) {
    fail(ErrorCode::corrupt, "{}: found no candidate, expected schemes = [...] or recipes = [...]", source);
  }
  std::unordered_set<std::string> stems;
  for (const Recipe& r : recipes) {
    if (!stems.insert(file_stem(r.name)).second) {
      fail(ErrorCode::corrupt, "{}: found candidate '{}' a second time, expected a name of its own for each", source,
           r.name);
    }
  }
}

}  // namespace

std::vector<Recipe> default_candidates() {
  // Near-ties in size on purpose (three schemes at 4.5 bits): between them only the tasks can decide. Hot weights are
  // tried where they cost little beside the body or where the body is so small that the head may be what breaks.
  constexpr std::string_view kPlain[] = {"q8_0",   "q6_k", "q5_k_m", "q4_k_m", "q4_k_s",
                                         "iq4_nl", "q4_0", "iq4_xs", "q3_k_m", "q2_k"};
  constexpr std::string_view kHot[] = {"q4_k_m", "iq4_xs", "q3_k_m", "q2_k"};
  std::vector<Recipe> out;
  for (const std::string_view scheme : kPlain) out.push_back(recipe_from_scheme(scheme));
  for (const std::string_view scheme : kHot) out.push_back(with_hot_weights(recipe_from_scheme(scheme)));
  return out;
}

std::vector<Recipe> read_candidates(const std::string& path) {
  const TomlTable list = TomlTable::read(path);
  list.only({"schemes", "hot_weights", "recipes", "group"});
  const std::filesystem::path folder = std::filesystem::path(path).parent_path();
  std::vector<Recipe> out;
  add_group(out, list, folder);
  for (const TomlTable& group : list.tables("group")) {
    group.only({"schemes", "hot_weights", "recipes"});
    add_group(out, group, folder);
  }
  check_names(out, path);
  return out;
}

std::string file_stem(const std::string& recipe_name) {
  std::string out;
  for (const char c : recipe_name) {
    const bool safe = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
                      c == '_' || c == '+' || c == '-';
    out.push_back(safe ? c : '_');
  }
  // "." and ".." name folders, and the float model's own file must not be overwritten.
  return out.empty() || out.front() == '.' || out == "float" ? "_" + out : out;
}

}  // namespace thimble
