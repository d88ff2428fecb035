// Answers that a damaged model gives whatever the question: nothing, no end, or the same again and again.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace thimble {

enum class Degeneration {
  none,
  empty,  // nothing but white space
  loop,   // a run of repetitions, see longest_loop()
  cut,    // the generation limit ended it
};
/// "none", "empty", "loop" or "cut".
std::string_view degeneration_name(Degeneration d) noexcept;

struct Loop {
  size_t period = 0;  // code points of what is repeated; 0: no loop
  size_t length = 0;  // code points of the whole run
};

/// The longest run of `text` in which a piece of up to 400 code points, with a letter or digit in it, follows itself at
/// least three times (four in all), over at least 32 code points. Rules of dashes and blank lines are no loops.
/// Time: 400 steps per code point at most.
Loop longest_loop(std::string_view text);

/// Loops do not count where a reference has one too. An answer that loops up to the limit is a loop.
Degeneration find_degeneration(std::string_view answer, bool truncated, std::span<const std::string> references);

}  // namespace thimble
