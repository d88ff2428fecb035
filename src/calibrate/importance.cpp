// Content hash of importance: a map has no order of its own, so names are sorted.
#include "calibrate/importance.h"

#include <algorithm>
#include <span>
#include <string_view>

#include "base/hash.h"

namespace thimble {

std::string importance_hash(const Importance& importance) {
  std::vector<std::string_view> names;
  for (const auto& [name, values] : importance) names.push_back(name);
  std::sort(names.begin(), names.end());
  ContentHasher hasher;
  for (const std::string_view name : names) {
    const std::vector<float>& values = importance.at(std::string(name));
    hasher.update(name);
    // Names hold no NUL, and lengths are fixed by it: two maps give the same bytes only when they are equal.
    hasher.update(std::string_view("\0", 1));
    const uint64_t n = values.size();
    hasher.update(std::as_bytes(std::span(&n, 1)));
    hasher.update(std::as_bytes(std::span(values)));
  }
  return hasher.hash();
}

}  // namespace thimble
