// Limits of numbers on the command line.
#pragma once

#include <fmt/format.h>

#include <CLI/CLI.hpp>

#include <string>

namespace thimble::cli {

/// Accepts numbers from `low` to `high`. Unlike CLI::Range and CLI::PositiveNumber it takes "nan" for none of them.
inline CLI::Validator number_range(double low, double high) {
  return CLI::Validator(
      [low, high](const std::string& text) -> std::string {
        double value = 0;
        if (CLI::detail::lexical_cast(text, value) && value >= low && value <= high) return "";
        return fmt::format("found {}, expected a number from {} to {}", text, low, high);
      },
      fmt::format("in [{} - {}]", low, high));
}

}  // namespace thimble::cli
