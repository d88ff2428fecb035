// Names of code in plain text: what a commit message has to get right. A word is an identifier when its form says so,
// since no programming language is known: "parse_json", "src/main.cpp", "std::span", "HttpClient", "utf8", "--force".
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace thimble {

/// Identifiers of `text` in order of first appearance, each once: words with an underscore, a dot, slash or colons
/// inside, capitals after a small letter, letters beside digits, two capitals and no small letter ("HTTP"), flags
/// ("-x", "--long"), calls ("f()", as "f"), and everything between backticks. Numbers with a dot ("1.14.2") count,
/// plain ones and "#123" do not.
std::vector<std::string> identifiers(std::string_view text);

/// Share of the identifiers of a reference that occur in `hypothesis` as whole words (case counts), best over the
/// references that have any, in 0..1. 1 when none has.
double identifier_recall(std::string_view hypothesis, std::span<const std::string> references);

}  // namespace thimble
