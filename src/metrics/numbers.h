// Numbers in texts, written in one way, so that "1,200 people", "1 200 people" and "twelve hundred people" state the
// same fact. English number words only: other languages need alternatives in the task file.
#pragma once

#include <string>
#include <string_view>

namespace thimble {

/// normalise() of `text`, and in it: digits of all scripts as 0-9; commas, apostrophes, underscores and narrow or
/// no-break spaces between groups of three digits left out; zeros before a number and after its decimal point left out;
/// the minus sign as a hyphen; English cardinals ("twenty-five", "two hundred and three", "2.5 million") as digits;
/// "percent" after a number as "%". Tokens with several dots (versions, dates) keep their zeros.
std::u32string normalise_numbers(std::string_view text);

}  // namespace thimble
