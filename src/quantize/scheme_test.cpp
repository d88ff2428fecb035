// The type choice against what stock llama.cpp chose (tests/golden/mixes), and the ways it must differ.
#include "quantize/scheme.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>

#include "base/error.h"
#include "base/json.h"
#include "calibrate/calibration.h"

namespace thimble {
namespace {

/// A model of tests/golden/mixes: shapes, and the types stock llama.cpp gave them.
struct MixGolden {
  explicit MixGolden(const std::filesystem::path& path) {
    const Json json = read_json_file(path.string(), 1 << 22);
    const Json& model = json.at("model");
    config.architecture = model.at("arch").get<std::string>();
    config.n_layer = model.at("n_layer");
    config.n_head = model.at("n_head");
    config.n_head_kv = model.at("n_head_kv");
    for (const Json& tensor : json.at("tensors")) names.push_back(tensor.at(0));
    for (size_t i = 0; i < names.size(); ++i) {
      TensorShape shape{names[i], {1, 1, 1, 1}, 0, TensorType::f16};
      for (const Json& n : json.at("tensors").at(i).at(1)) shape.ne.at(shape.n_dims++) = n;
      if (shape.n_dims == 1) shape.source_type = TensorType::f32;
      shapes.push_back(shape);
    }
    for (const auto& [scheme, types] : json.at("types").items()) plain[scheme] = types;
    importance = plain;
    for (const auto& [scheme, types] : json.at("types_importance").items()) importance[scheme] = types;
  }

  std::string types_of(const Recipe& recipe, bool has_importance) const {
    std::string out;
    for (const TypeChoice& choice : choose_types(recipe, config, shapes, has_importance)) {
      if (!out.empty()) out += ' ';
      out += traits(choice.type).name;
    }
    return out;
  }

  ModelConfig config;
  std::vector<std::string> names;
  std::vector<TensorShape> shapes;
  std::map<std::string, std::string> plain, importance;
};

std::filesystem::path mixes() {
  return std::filesystem::path(THIMBLE_SOURCE_DIR) / "tests/golden/mixes";
}

TEST(Scheme, GivesEveryTensorTheTypeStockLlamaCppGivesIt) {
  int n_models = 0;
  for (const auto& entry : std::filesystem::directory_iterator(mixes())) {
    const MixGolden golden(entry.path());
    ++n_models;
    for (const std::string_view scheme : scheme_names()) {
      if (scheme.starts_with("i4_g") || scheme.starts_with("i5_g")) continue;  // not known to llama.cpp
      const Recipe recipe = recipe_from_scheme(scheme);
      EXPECT_EQ(golden.types_of(recipe, false), golden.plain.at(std::string(scheme))) << entry.path() << " " << scheme;
      EXPECT_EQ(golden.types_of(recipe, true), golden.importance.at(std::string(scheme)))
          << entry.path() << " " << scheme << " with importance";
    }
  }
  EXPECT_EQ(n_models, 9);
}

// One type for all but the head, which the scheme of a llama.cpp type of that size would give as many bits; narrow
// matrices take the next shorter group that divides them.
TEST(Scheme, GroupSchemesAreUniformAndFallBackToShorterGroups) {
  const MixGolden golden(mixes() / "mistral-7b.json");
  const Recipe recipe = recipe_from_scheme("i4_g128");
  const auto choices = choose_types(recipe, golden.config, golden.shapes, false);
  for (size_t i = 0; i < choices.size(); ++i) {
    if (golden.shapes[i].n_dims == 1) continue;
    const bool head = golden.names[i] == "output.weight";
    EXPECT_EQ(choices[i].type, head ? TensorType::q6_k : TensorType::i4_g128) << golden.names[i];
  }
  const auto type_of = [&](std::string_view scheme, int64_t columns) {
    const TensorShape shape = {"blk.0.ffn_up.weight", {columns, 8, 1, 1}, 2, TensorType::f16};
    return choose_types(recipe_from_scheme(scheme), golden.config, {&shape, 1}, false).front().type;
  };
  EXPECT_EQ(type_of("i4_g128", 384), TensorType::i4_g128);
  EXPECT_EQ(type_of("i4_g128", 576), TensorType::i4_g64);
  EXPECT_EQ(type_of("i4_g128", 96), TensorType::q4_1);
  EXPECT_EQ(type_of("i4_g64", 96), TensorType::q4_1);
  EXPECT_EQ(type_of("i5_g128", 320), TensorType::i5_g64);
  EXPECT_EQ(type_of("i5_g128", 32), TensorType::q5_1);
  EXPECT_EQ(type_of("i5_g64", 100), TensorType::f16);
}

TEST(Scheme, DoesNotDependOnTheOrderOfTensors) {
  MixGolden golden(mixes() / "mistral-7b.json");
  std::map<std::string, TensorType> expected;
  const Recipe recipe = recipe_from_scheme("q4_k_m");
  const std::vector<TypeChoice> forward = choose_types(recipe, golden.config, golden.shapes, false);
  for (size_t i = 0; i < forward.size(); ++i) expected[golden.names[i]] = forward[i].type;
  std::reverse(golden.shapes.begin(), golden.shapes.end());
  const std::vector<TypeChoice> backward = choose_types(recipe, golden.config, golden.shapes, false);
  for (size_t i = 0; i < backward.size(); ++i) {
    EXPECT_EQ(backward[i].type, expected.at(std::string(golden.shapes[i].name))) << golden.shapes[i].name;
  }
}

TEST(Scheme, ARuleChangesNoTensorItDoesNotName) {
  const MixGolden golden(mixes() / "mistral-7b.json");
  for (const std::string_view scheme : scheme_names()) {
    const Recipe plain = recipe_from_scheme(scheme);
    Recipe ruled = plain;
    ruled.rules.push_back({"blk.0.*", TensorType::q8_0});
    const auto before = choose_types(plain, golden.config, golden.shapes, false);
    const auto after = choose_types(ruled, golden.config, golden.shapes, false);
    for (size_t i = 0; i < before.size(); ++i) {
      const bool named = golden.names[i].starts_with("blk.0.") && golden.shapes[i].n_dims == 2;
      EXPECT_EQ(after[i].type, named ? TensorType::q8_0 : before[i].type) << scheme << " " << golden.names[i];
      EXPECT_EQ(after[i].reason == "rule blk.0.*", named) << golden.names[i];
    }
  }
}

TEST(Scheme, TheFirstMatchingRuleWinsAndNormsAreKept) {
  const MixGolden golden(mixes() / "nano.json");
  Recipe recipe = recipe_from_scheme("q4_0");
  recipe.rules = {{"blk.1.ffn_*", TensorType::q6_k}, {"*", TensorType::q8_0}};
  const auto choices = choose_types(recipe, golden.config, golden.shapes, false);
  for (size_t i = 0; i < choices.size(); ++i) {
    TensorType expected = golden.names[i].starts_with("blk.1.ffn_") ? TensorType::q6_k : TensorType::q8_0;
    if (golden.shapes[i].n_dims == 1) expected = TensorType::f32;
    EXPECT_EQ(choices[i].type, expected) << golden.names[i];
  }
}

TEST(Scheme, RulesFallBackWithTheShapeAndSaySo) {
  const MixGolden golden(mixes() / "smollm2-135m.json");
  Recipe recipe = recipe_from_scheme("q8_0");
  recipe.rules = {{"blk.0.attn_q.weight", TensorType::q4_k}, {"blk.0.ffn_down.weight", TensorType::q4_k}};
  const auto choices = choose_types(recipe, golden.config, golden.shapes, false);
  for (size_t i = 0; i < choices.size(); ++i) {
    if (golden.names[i] == "blk.0.attn_q.weight") {
      EXPECT_EQ(choices[i].type, TensorType::q5_0);
      EXPECT_EQ(choices[i].reason, "rule blk.0.attn_q.weight; fallback: 576 columns are no multiple of 256");
    }
    if (golden.names[i] == "blk.0.ffn_down.weight") {
      EXPECT_EQ(choices[i].type, TensorType::q4_k);
    }  // 1536 columns
  }
}

TEST(Scheme, ColumnsThat32DoesNotDivideBecomeF16) {
  ModelConfig config;
  config.architecture = "llama";
  config.n_layer = config.n_head = config.n_head_kv = 1;
  const std::vector<TensorShape> shapes = {{"blk.0.attn_q.weight", {80, 4, 1, 1}, 2, TensorType::f32}};
  for (const std::string_view scheme : {"q8_0", "q4_0", "iq4_nl", "q4_k_m", "iq4_xs", "q2_k", "q6_k"}) {
    EXPECT_EQ(choose_types(recipe_from_scheme(scheme), config, shapes, false)[0].type, TensorType::f16) << scheme;
  }
}

TEST(Scheme, AnUnknownSchemeNamesTheKnownOnes) {
  try {
    recipe_from_scheme("q4_k_l");
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::invalid_argument);
    EXPECT_NE(std::string(e.what()).find("q4_k_m"), std::string::npos);
  }
}

TEST(Scheme, FileTypesAreLlamaCpps) {
  // LLAMA_FTYPE_MOSTLY_* of llama.h, v0.5.0.
  EXPECT_EQ(file_type_id("f16"), 1u);
  EXPECT_EQ(file_type_id("q4_k_m"), 15u);
  EXPECT_EQ(file_type_id("iq4_xs"), 30u);
  EXPECT_EQ(file_type_id("i4_g64"), 1024u);
}

TEST(Glob, MatchesRunsAndSingleCharacters) {
  EXPECT_TRUE(glob_match("*", ""));
  EXPECT_TRUE(glob_match("", ""));
  EXPECT_FALSE(glob_match("", "a"));
  EXPECT_TRUE(glob_match("blk.?.attn_*", "blk.3.attn_q.weight"));
  EXPECT_FALSE(glob_match("blk.?.attn_*", "blk.13.attn_q.weight"));
  EXPECT_TRUE(glob_match("*.ffn_down.weight", "blk.13.ffn_down.weight"));
  EXPECT_FALSE(glob_match("*.ffn_down", "blk.13.ffn_down.weight"));
  EXPECT_TRUE(glob_match("a*b*c", "aXbYbZc"));
  EXPECT_FALSE(glob_match("a*b*c", "aXbYbZ"));
  EXPECT_FALSE(glob_match("?", ""));
}

TEST(Glob, HostilePatternsAreNotExponential) {
  // A backtracking matcher needs more than 2^100 steps here; this one at most 400 * 200000.
  std::string pattern;
  for (int i = 0; i < 200; ++i) pattern += "a*";
  EXPECT_FALSE(glob_match(pattern + "b", std::string(200000, 'a')));
}

TEST(Recipe, ReadsSchemeNameAndRules) {
  const Recipe recipe = parse_recipe(
      "scheme = \"iq4_xs\"\nname = \"mine\"\n[[rule]]\nmatch = \"output.weight\"\ntype = \"Q6_K\"\n", "r.toml");
  EXPECT_EQ(recipe.name, "mine");
  EXPECT_EQ(recipe.scheme, "iq4_xs");
  ASSERT_EQ(recipe.rules.size(), 1u);
  EXPECT_EQ(recipe.rules[0].match, "output.weight");
  EXPECT_EQ(recipe.rules[0].type, TensorType::q6_k);
  EXPECT_EQ(parse_recipe("scheme = \"q4_0\"\n", "folder/small.toml").name, "small");
}

TEST(Recipe, ErrorsNameFileLineAndKey) {
  const std::pair<std::string, std::string> cases[] = {
      {"name = \"x\"\n", "key 'scheme'"},
      {"scheme = \"q4_k_x\"\n", "key 'scheme': found 'q4_k_x'"},
      {"scheme = 4\n", "line 1: key 'scheme'"},
      {"scheme = \"q4_0\"\nschema = 1\n", "line 2: key 'schema'"},
      {"scheme = \"q4_0\"\n\n[[rule]]\nmatch = \"*\"\ntype = \"q9_k\"\n", "line 3: key 'type': found 'q9_k'"},
      {"scheme = \"q4_0\"\n[[rule]]\nmatch = \"*\"\ntype = \"i32\"\n", "line 2: key 'type': found 'i32'"},
      {"scheme = \"q4_0\"\n[[rule]]\nmatch = \"\"\ntype = \"f16\"\n", "key 'match'"},
      {"scheme = \"q4_0\"\n[[rule]]\ntype = \"f16\"\n", "key 'match'"},
      {"scheme = \"q4_0\"\n[[rule]]\nmatch = \"*\"\ntype = \"f16\"\nsort = 1\n", "line 5: key 'sort'"},
      {"scheme = \"q4_0\n", "line 1"},
  };
  for (const auto& [text, expected] : cases) {
    try {
      parse_recipe(text, "bad.toml");
      ADD_FAILURE() << text;
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::corrupt) << text;
      EXPECT_NE(std::string(e.what()).find("bad.toml"), std::string::npos) << e.what();
      EXPECT_NE(std::string(e.what()).find(expected), std::string::npos) << e.what();
    }
  }
}

TEST(Recipe, TheExamplesOfTheRepositoryAreValid) {
  int n_recipes = 0;
  for (const auto& entry : std::filesystem::directory_iterator(std::filesystem::path(THIMBLE_SOURCE_DIR) / "recipes")) {
    if (entry.path().extension() != ".toml") continue;
    const Recipe recipe = read_recipe(entry.path().string());
    EXPECT_FALSE(recipe.rules.empty()) << entry.path();
    ++n_recipes;
  }
  EXPECT_GE(n_recipes, 1);
}

TEST(Recipe, HotWeightsKeepEmbeddingAndHeadAtF16) {
  const MixGolden golden(mixes() / "llama-3.2-1b.json");
  const Recipe recipe = with_hot_weights(recipe_from_scheme("q4_k_m"));
  EXPECT_EQ(recipe.name, "q4_k_m+hot");
  const auto choices = choose_types(recipe, golden.config, golden.shapes, false);
  for (size_t i = 0; i < choices.size(); ++i) {
    if (golden.names[i] == "token_embd.weight") {
      EXPECT_EQ(choices[i].type, TensorType::f16);
    }
    if (golden.names[i] == "blk.3.ffn_up.weight") {
      EXPECT_EQ(choices[i].type, TensorType::q4_k);
    }
  }
}

TEST(Recipe, IdentityIsThatOfAllThatDecidesWeights) {
  const Recipe base = parse_recipe("scheme = \"q4_k_m\"\nname = \"a\"\n", "r.toml");
  EXPECT_EQ(recipe_identity(base), recipe_identity(parse_recipe("scheme = \"q4_k_m\"\nname = \"b\"\n", "r.toml")));
  const std::string rule = "[[rule]]\nmatch = \"*\"\ntype = \"q6_k\"\n";
  std::set<std::string> seen = {recipe_identity(base)};
  for (const std::string& more :
       {std::string("fold = \"awq\"\n"), std::string("method = \"gptq\"\n"),
        std::string("method = \"gptq\"\ndamp = 0.2\n"), std::string("method = \"gptq\"\nsweeps = 2\n"),
        std::string("outliers = 3\n"), std::string("outlier_bits = 0.1\n"), rule, fmt::format("{}outliers = 0\n", rule),
        std::string("[[rounding]]\nmatch = \"*\"\nmethod = \"gptq\"\n")}) {
    EXPECT_TRUE(
        seen.insert(recipe_identity(parse_recipe(fmt::format("scheme = \"q4_k_m\"\n{}", more), "r.toml"))).second)
        << more;
  }
  EXPECT_TRUE(seen.insert(recipe_identity(recipe_from_scheme("q4_k_s"))).second);
}

TEST(Recipe, BestIsTheDefaultOfWhoHasSecondMoments) {
  CalibrationEntry entry;
  entry.name = "blk.0.ffn_up";
  entry.weights = {"blk.0.ffn_up.weight"};
  entry.statistics = {2, 1, {1.0f, 1.0f}, {}, {}};
  const Calibration importance_only = Calibration::from_entries({}, std::span(&entry, 1));
  entry.second_moment = {1.0f, 0.0f, 0.0f, 1.0f};
  const Calibration second_moments = Calibration::from_entries({}, std::span(&entry, 1));
  const Recipe plain = recipe_from_scheme("q4_0");
  EXPECT_EQ(with_default_rounding(plain, false).rounding.method, RoundingMethod::search);
  EXPECT_EQ(with_default_rounding(plain, importance_only.has_second_moments()).rounding.method, RoundingMethod::search);
  EXPECT_EQ(with_default_rounding(plain, second_moments.has_second_moments()).rounding.method, RoundingMethod::best);
  const Recipe asked = parse_recipe("scheme = \"q4_0\"\nmethod = \"search\"\n", "r.toml");
  EXPECT_EQ(with_default_rounding(asked, true).rounding.method, RoundingMethod::search);
  const Recipe rules = parse_recipe("scheme = \"q4_0\"\n[[rounding]]\nmatch = \"*\"\nmethod = \"gptq\"\n", "r.toml");
  EXPECT_EQ(with_default_rounding(rules, true).rounding.method, RoundingMethod::search);
}

TEST(Recipe, CommandLineRules) {
  const RecipeRule rule = parse_rule("blk.*.attn_v.weight=q6_k");
  EXPECT_EQ(rule.match, "blk.*.attn_v.weight");
  EXPECT_EQ(rule.type, TensorType::q6_k);
  for (const char* bad : {"", "=", "x", "x=", "=q6_k", "x=q7", "x=i32"}) {
    EXPECT_THROW(parse_rule(bad), Error) << bad;
  }
}

}  // namespace
}  // namespace thimble
