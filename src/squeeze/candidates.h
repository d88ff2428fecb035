// Which recipes a squeeze tries: the built-in list, or a TOML list of schemes x hot weights and of recipe files.
#pragma once

#include <string>
#include <vector>

#include "quantize/scheme.h"

namespace thimble {

/// The built-in list; candidates/default.toml says the same, and a test keeps the two equal.
std::vector<Recipe> default_candidates();

/// Reads a list. At the top level or in any number of [[group]] tables:
///   schemes = ["q4_k_m", ...], hot_weights = [false, true] (every combination; default [false]),
///   recipes = ["my.toml", ...] (recipe files, relative to the list).
/// Errors: as TomlTable::read and read_recipe; corrupt for unknown keys, names that occur twice and an empty list.
std::vector<Recipe> read_candidates(const std::string& path);

/// File name without ending for a recipe's name: what is not a letter, digit, '.', '_', '+' or '-' becomes '_'.
std::string file_stem(const std::string& recipe_name);

}  // namespace thimble
