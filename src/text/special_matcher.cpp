// An Aho-Corasick automaton over the reversed patterns reads the text backwards: the state after a byte then names the
// longest pattern that begins at this byte, and the chain of suffix links the shorter ones. A heap hands out candidates
// longest first; one that runs into an accepted match is put back at the length that still fits.
#include "text/special_matcher.h"

#include <algorithm>
#include <map>
#include <string>

namespace thimble {

namespace {

uint64_t edge_key(uint32_t node, uint8_t byte) noexcept {
  return static_cast<uint64_t>(node) << 8 | byte;
}

struct Candidate {
  uint32_t length;
  int32_t pattern;
  size_t begin;
};

// Heap order: the longest first, then the leftmost.
struct Later {
  bool operator()(const Candidate& a, const Candidate& b) const noexcept {
    return a.length != b.length ? a.length < b.length : a.begin > b.begin;
  }
};

// Accepted matches by position, with the bytes they take.
class Taken {
 public:
  bool covers(size_t pos) const {
    const auto next = matches_.upper_bound(pos);
    return next != matches_.begin() && std::prev(next)->second.resume > pos;
  }
  /// Where the next match after `pos` begins, or `end`.
  size_t limit(size_t pos, size_t end) const {
    const auto next = matches_.upper_bound(pos);
    return next == matches_.end() ? end : next->first;
  }
  void add(const SpecialMatch& match) { matches_.emplace(match.begin, match); }
  std::vector<SpecialMatch> in_order() const {
    std::vector<SpecialMatch> result;
    result.reserve(matches_.size());
    for (const auto& entry : matches_) result.push_back(entry.second);
    return result;
  }

 private:
  std::map<size_t, SpecialMatch> matches_;
};

}  // namespace

SpecialMatcher::SpecialMatcher(const std::vector<Pattern>& patterns) : nodes_(1, Node{0, -1}), root_children_(256, 0) {
  for (const Pattern& pattern : patterns) {
    uint32_t node = 0;
    for (size_t i = pattern.text.size(); i-- > 0;) {
      const auto byte = static_cast<uint8_t>(pattern.text[i]);
      const auto [it, inserted] = children_.emplace(edge_key(node, byte), static_cast<uint32_t>(nodes_.size()));
      if (inserted) {
        nodes_.push_back(Node{0, -1});
        if (node == 0) root_children_[byte] = it->second;
      }
      node = it->second;
    }
    nodes_[node].pattern = static_cast<int32_t>(patterns_.size());
    patterns_.push_back(Entry{pattern.id, static_cast<uint32_t>(pattern.text.size()), -1, pattern.strips_after});
  }
  link();
}

void SpecialMatcher::link() {
  // Breadth first: a node's failure link is shallower than the node. Edges are sorted by depth of their parent.
  std::vector<std::vector<std::pair<uint8_t, uint32_t>>> edges(nodes_.size());
  for (const auto& [key, node] : children_) {
    edges[static_cast<size_t>(key >> 8)].emplace_back(static_cast<uint8_t>(key & 255), node);
  }
  std::vector<uint32_t> queue{0};
  uint64_t work = 0;
  for (size_t head = 0; head < queue.size(); ++head) {
    const uint32_t parent = queue[head];
    for (const auto& [byte, node] : edges[parent]) {
      queue.push_back(node);
      const uint32_t fail = parent == 0 ? 0 : step(nodes_[parent].fail, byte, work);
      nodes_[node].fail = fail;
      const int32_t inherited = nodes_[fail].pattern;
      const int32_t own = nodes_[node].pattern;
      if (own >= 0) {
        patterns_[static_cast<size_t>(own)].shorter = inherited;
      } else {
        nodes_[node].pattern = inherited;
      }
    }
  }
}

uint32_t SpecialMatcher::child(uint32_t node, uint8_t byte) const noexcept {
  if (node == 0) return root_children_[byte];
  const auto it = children_.find(edge_key(node, byte));
  return it == children_.end() ? 0 : it->second;
}

uint32_t SpecialMatcher::step(uint32_t node, uint8_t byte, uint64_t& work) const noexcept {
  for (;;) {
    ++work;
    const uint32_t next = child(node, byte);
    if (next != 0 || node == 0) return next;
    node = nodes_[node].fail;
  }
}

std::vector<SpecialMatch> SpecialMatcher::find(std::string_view text, uint64_t& work) const {
  if (patterns_.empty()) return {};
  std::vector<Candidate> heap;
  uint32_t node = 0;
  for (size_t i = text.size(); i-- > 0;) {
    node = step(node, static_cast<uint8_t>(text[i]), work);
    const int32_t pattern = nodes_[node].pattern;
    if (pattern >= 0) heap.push_back({patterns_[static_cast<size_t>(pattern)].length, pattern, i});
  }
  std::make_heap(heap.begin(), heap.end(), Later{});

  Taken taken;
  while (!heap.empty()) {
    ++work;
    std::pop_heap(heap.begin(), heap.end(), Later{});
    Candidate candidate = heap.back();
    heap.pop_back();
    if (taken.covers(candidate.begin)) continue;
    const size_t limit = taken.limit(candidate.begin, text.size());
    if (candidate.begin + candidate.length > limit) {
      while (candidate.pattern >= 0 && candidate.begin + candidate.length > limit) {
        ++work;
        candidate.pattern = patterns_[static_cast<size_t>(candidate.pattern)].shorter;
        if (candidate.pattern >= 0) candidate.length = patterns_[static_cast<size_t>(candidate.pattern)].length;
      }
      if (candidate.pattern < 0) continue;
      heap.push_back(candidate);
      std::push_heap(heap.begin(), heap.end(), Later{});
      continue;
    }
    const Entry& entry = patterns_[static_cast<size_t>(candidate.pattern)];
    SpecialMatch match{candidate.begin, candidate.begin + candidate.length, 0, entry.id, entry.strips_after};
    match.resume = match.end;
    while (entry.strips_after && match.resume < limit && is_ascii_space(text[match.resume])) ++match.resume;
    taken.add(match);
  }
  return taken.in_order();
}

}  // namespace thimble
