// Longest common subsequence over words. Quadratic, which the limit on the texts' length bounds: 1,200 code points are
// at most 1.44 million steps and cells.
#include "squeeze/html_diff.h"

#include <algorithm>
#include <cstdint>
#include <vector>

#include "metrics/code_points.h"
#include "squeeze/html_text.h"
#include "text/unicode.h"

namespace thimble {

namespace {

// Letters and digits of scripts that put spaces between words; other code points stand alone.
bool is_word(char32_t c) noexcept {
  if (c < 0x80) return (c >= U'0' && c <= U'9') || (c >= U'a' && c <= U'z') || (c >= U'A' && c <= U'Z') || c == U'_';
  return c >= 0xC0 && c < 0x2000 && c != 0xD7 && c != 0xF7;
}

struct Words {
  std::vector<std::u32string> words;
  bool cut = false;
};

Words split(std::string_view text, size_t max_points) {
  std::u32string points = code_points(text);
  Words out;
  out.cut = points.size() > max_points;
  if (out.cut) points.resize(max_points);
  for (size_t at = 0; at < points.size();) {
    size_t end = at + 1;
    while (is_word(points[at]) && end < points.size() && is_word(points[end])) ++end;
    out.words.push_back(points.substr(at, end - at));
    at = end;
  }
  return out;
}

std::string utf8(const std::u32string& points) {
  std::string out;
  for (const char32_t c : points) append_utf8(out, c);
  return out;
}

// A shared word is worth more than a shared space or comma.
uint16_t worth(const std::u32string& word) noexcept {
  return is_word(word[0]) || word[0] >= 0x2000 ? 3 : 1;
}

// common[i] of a and b: whether word i is in the longest common subsequence.
struct Common {
  std::vector<bool> a, b;
};

Common common_words(const std::vector<std::u32string>& a, const std::vector<std::u32string>& b) {
  const size_t width = b.size() + 1;
  std::vector<uint16_t> length((a.size() + 1) * width, 0);  // of the suffixes from i and j
  for (size_t i = a.size(); i-- > 0;) {
    for (size_t j = b.size(); j-- > 0;) {
      length[i * width + j] = a[i] == b[j] ? static_cast<uint16_t>(length[(i + 1) * width + j + 1] + worth(a[i]))
                                           : std::max(length[(i + 1) * width + j], length[i * width + j + 1]);
    }
  }
  Common out{std::vector<bool>(a.size()), std::vector<bool>(b.size())};
  for (size_t i = 0, j = 0; i < a.size() && j < b.size();) {
    if (a[i] == b[j]) {
      out.a[i++] = out.b[j++] = true;
    } else if (length[(i + 1) * width + j] >= length[i * width + j + 1]) {
      ++i;
    } else {
      ++j;
    }
  }
  return out;
}

std::string marked(const Words& text, const std::vector<bool>& common) {
  std::string out;
  bool open = false;
  for (size_t i = 0; i < text.words.size(); ++i) {
    // A space between two marked words is marked with them, or a sentence would be a row of boxes.
    const bool space = text.words[i] == U" " && open && i + 1 < text.words.size() && !common[i + 1];
    const bool mark = !common[i] || space;
    if (mark != open) out += mark ? "<mark>" : "</mark>";
    open = mark;
    out += html_escape(utf8(text.words[i]));
  }
  return out + (open ? "</mark>" : "") + (text.cut ? " …" : "");
}

}  // namespace

MarkedTexts mark_differences(std::string_view a, std::string_view b, size_t max_points) {
  const Words x = split(a, std::min<size_t>(max_points, 4000));
  const Words y = split(b, std::min<size_t>(max_points, 4000));
  const Common common = common_words(x.words, y.words);
  return {marked(x, common.a), marked(y, common.b)};
}

std::string cut_text(std::string_view text, size_t max_points) {
  const Words words = split(text, max_points);
  return marked(words, std::vector<bool>(words.words.size(), true));
}

}  // namespace thimble
