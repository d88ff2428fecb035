// In four steps: options that another beats are dropped; a greedy walk along the convex hull of each item gives a price
// of a byte (the Lagrange multiplier) and a first choice; the price bounds what an option can be part of; dynamic
// programming finds the best of what is left.
//
// With price p, every choice costs  loss = floor + sum of surcharges + p * (budget - bytes),  where the surcharge of an
// option is (loss + p * bytes) less the smallest such sum of its item, and floor = sum of these smallest sums - p *
// budget. All terms but the floor are >= 0: whoever's surcharges exceed the gap between the best known loss and the
// floor cannot be better.
#include "quantize/allocation.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/checked.h"
#include "base/error.h"

namespace thimble {

namespace {

// An option that no other of its item beats in both bytes and loss.
struct Candidate {
  size_t option;  // index into AllocationItem::options
  uint64_t bytes;
  double loss;
  double surcharge = 0;
};

/// One item: candidates by rising bytes and falling loss.
using Candidates = std::vector<Candidate>;

std::string name_of(const AllocationItem& item) {
  return item.tensors.empty() ? std::string("an item") : item.tensors.front();
}

Candidates undominated(const AllocationItem& item) {
  if (item.options.empty()) {
    fail(ErrorCode::invalid_argument, "allocation: {}: found no type to choose from, expected at least one",
         name_of(item));
  }
  Candidates sorted;
  for (size_t i = 0; i < item.options.size(); ++i) {
    const AllocationOption& option = item.options[i];
    if (!std::isfinite(option.loss)) {
      fail(ErrorCode::invalid_argument, "allocation: {} as {}: found a loss of {}, expected a finite one",
           name_of(item), traits(option.type).name, option.loss);
    }
    sorted.push_back({i, option.bytes, option.loss});
  }
  std::stable_sort(sorted.begin(), sorted.end(), [](const Candidate& a, const Candidate& b) {
    return a.bytes != b.bytes ? a.bytes < b.bytes : a.loss < b.loss;
  });
  Candidates out;
  for (const Candidate& c : sorted) {
    if (out.empty() || c.loss < out.back().loss) out.push_back(c);
  }
  return out;
}

// From one point of an item's lower convex hull to the next.
struct Step {
  size_t item;
  size_t to;  // candidate
  uint64_t bytes;
  double gain;  // loss avoided
  double price() const noexcept { return gain / static_cast<double>(bytes); }
};

// Indices of the candidates on the lower convex hull, from the smallest to the largest.
std::vector<size_t> hull_of(const Candidates& candidates) {
  std::vector<size_t> hull;
  const auto price = [&](size_t a, size_t b) {
    return (candidates[a].loss - candidates[b].loss) / static_cast<double>(candidates[b].bytes - candidates[a].bytes);
  };
  for (size_t i = 0; i < candidates.size(); ++i) {
    while (hull.size() >= 2 && price(hull[hull.size() - 2], hull.back()) <= price(hull.back(), i)) hull.pop_back();
    hull.push_back(i);
  }
  return hull;
}

std::vector<Step> steps_by_price(const std::vector<Candidates>& items) {
  std::vector<Step> steps;
  for (size_t i = 0; i < items.size(); ++i) {
    const std::vector<size_t> hull = hull_of(items[i]);
    for (size_t h = 1; h < hull.size(); ++h) {
      const Candidate& from = items[i][hull[h - 1]];
      const Candidate& to = items[i][hull[h]];
      steps.push_back({i, hull[h], to.bytes - from.bytes, from.loss - to.loss});
    }
  }
  std::stable_sort(steps.begin(), steps.end(), [](const Step& a, const Step& b) { return a.price() > b.price(); });
  return steps;
}

// A whole choice, by candidate.
struct Choice {
  std::vector<size_t> candidate;
  uint64_t bytes = 0;
  double loss = 0;
};

Choice whole_choice(const std::vector<Candidates>& items, std::vector<size_t> candidate) {
  Choice out;
  for (size_t i = 0; i < items.size(); ++i) {
    out.bytes += items[i][candidate[i]].bytes;
    out.loss += items[i][candidate[i]].loss;
  }
  out.candidate = std::move(candidate);
  return out;
}

// Spends what is left, each time on the exchange of one item that avoids most loss.
void fill_up(const std::vector<Candidates>& items, uint64_t budget, std::vector<size_t>& candidate, uint64_t bytes) {
  for (;;) {
    size_t best_item = items.size();
    size_t best_to = 0;
    double best_gain = 0;
    for (size_t i = 0; i < items.size(); ++i) {
      const Candidate& now = items[i][candidate[i]];
      for (size_t to = candidate[i] + 1; to < items[i].size(); ++to) {
        const double gain = now.loss - items[i][to].loss;
        if (items[i][to].bytes - now.bytes > budget - bytes || gain <= best_gain) continue;
        best_item = i;
        best_to = to;
        best_gain = gain;
      }
    }
    if (best_item == items.size()) return;
    bytes += items[best_item][best_to].bytes - items[best_item][candidate[best_item]].bytes;
    candidate[best_item] = best_to;
  }
}

// Walks the steps from the smallest choice up. `price` gets that of the first step that no longer fits; 0 when all do.
Choice greedy(const std::vector<Candidates>& items, uint64_t budget, double* price) {
  std::vector<size_t> candidate(items.size(), 0);
  uint64_t bytes = 0;
  for (const Candidates& c : items) bytes += c.front().bytes;
  *price = 0;
  for (const Step& step : steps_by_price(items)) {
    if (step.bytes > budget - bytes) {
      *price = step.price();
      break;
    }
    candidate[step.item] = step.to;
    bytes += step.bytes;
  }
  fill_up(items, budget, candidate, bytes);
  return whole_choice(items, std::move(candidate));
}

// Sets all surcharges at a price and returns the floor under every choice's loss.
double set_surcharges(std::vector<Candidates>& items, double price, uint64_t budget) {
  double floor = -price * static_cast<double>(budget);
  for (Candidates& candidates : items) {
    double smallest = std::numeric_limits<double>::infinity();
    for (const Candidate& c : candidates) {
      smallest = std::min(smallest, c.loss + price * static_cast<double>(c.bytes));
    }
    for (Candidate& c : candidates) c.surcharge = c.loss + price * static_cast<double>(c.bytes) - smallest;
    floor += smallest;
  }
  return floor;
}

/// Dynamic programming over items, those with the fewest live candidates first.
class Search {
 public:
  Search(const std::vector<Candidates>& items, uint64_t budget, double price, double gap, size_t max_states)
      : items_(items), budget_(budget), price_(price), gap_(gap), max_states_(max_states), dropped_(gap) {
    live_.resize(items.size());
    for (size_t i = 0; i < items.size(); ++i) {
      for (size_t c = 0; c < items[i].size(); ++c) {
        if (items[i][c].surcharge <= gap) live_[i].push_back(c);
      }
      order_.push_back(i);
    }
    std::stable_sort(order_.begin(), order_.end(),
                     [&](size_t a, size_t b) { return live_[a].size() < live_[b].size(); });
  }

  /// Candidates of the best choice, or nothing when none beats the gap.
  std::vector<size_t> run() {
    set_rest();
    std::vector<State> states = {State{}};
    for (size_t i = 0; i < order_.size(); ++i) {
      states = extend(states, i);
      if (states.empty()) return {};
      cut(states);
      std::vector<Link>& links = links_.emplace_back();
      for (const State& s : states) links.push_back(s.link);
    }
    // The last undominated state has the least loss, and of these the fewest bytes.
    return trace(states.size() - 1);
  }

  /// Smallest excess over the floor of anything dropped for want of room.
  double dropped_excess() const noexcept { return dropped_; }

 private:
  struct Link {
    uint32_t parent = 0;
    uint32_t candidate = 0;
  };
  struct State {
    uint64_t bytes = 0;
    double loss = 0;
    double surcharge = 0;
    Link link;
  };

  // Bytes that the items from position i on take at least and at most.
  void set_rest() {
    rest_min_.assign(order_.size() + 1, 0);
    rest_max_.assign(order_.size() + 1, 0);
    for (size_t i = order_.size(); i-- > 0;) {
      const Candidates& candidates = items_[order_[i]];
      const std::vector<size_t>& live = live_[order_[i]];
      rest_min_[i] = rest_min_[i + 1] + candidates[live.front()].bytes;
      rest_max_[i] = rest_max_[i + 1] + candidates[live.back()].bytes;
    }
  }

  // What any completion of a state at position `next` costs above the floor at least.
  double excess(const State& s, size_t next) const noexcept {
    const uint64_t most = s.bytes + rest_max_[next];
    const double unused = most < budget_ ? static_cast<double>(budget_ - most) : 0.0;
    return s.surcharge + price_ * unused;
  }

  std::vector<State> extend(const std::vector<State>& states, size_t position) const {
    const size_t item = order_[position];
    std::vector<State> out;
    out.reserve(states.size() * live_[item].size());
    for (size_t parent = 0; parent < states.size(); ++parent) {
      for (const size_t c : live_[item]) {
        const Candidate& candidate = items_[item][c];
        const State& from = states[parent];
        State to{from.bytes + candidate.bytes, from.loss + candidate.loss, from.surcharge + candidate.surcharge,
                 Link{static_cast<uint32_t>(parent), static_cast<uint32_t>(c)}};
        if (to.bytes + rest_min_[position + 1] > budget_ || excess(to, position + 1) > gap_) continue;
        out.push_back(to);
      }
    }
    std::stable_sort(out.begin(), out.end(), [](const State& a, const State& b) {
      return a.bytes != b.bytes ? a.bytes < b.bytes : a.loss < b.loss;
    });
    size_t kept = 0;
    for (const State& s : out) {
      if (kept == 0 || s.loss < out[kept - 1].loss) out[kept++] = s;
    }
    out.resize(kept);
    return out;
  }

  // Keeps the most promising states when there are too many.
  void cut(std::vector<State>& states) {
    if (states.size() <= max_states_) return;
    std::vector<uint32_t> order(states.size());
    std::iota(order.begin(), order.end(), uint32_t{0});
    const auto middle = order.begin() + static_cast<std::ptrdiff_t>(max_states_);
    std::nth_element(order.begin(), middle, order.end(), [&](uint32_t a, uint32_t b) {
      return states[a].surcharge != states[b].surcharge ? states[a].surcharge < states[b].surcharge : a < b;
    });
    dropped_ = std::min(dropped_, states[*middle].surcharge);
    std::sort(order.begin(), middle);  // back to rising bytes
    std::vector<State> kept;
    for (auto i = order.begin(); i != middle; ++i) kept.push_back(states[*i]);
    states = std::move(kept);
  }

  std::vector<size_t> trace(size_t state) const {
    std::vector<size_t> candidate(items_.size());
    for (size_t i = order_.size(); i-- > 0;) {
      const Link& link = links_[i][state];
      candidate[order_[i]] = link.candidate;
      state = link.parent;
    }
    return candidate;
  }

  const std::vector<Candidates>& items_;
  uint64_t budget_;
  double price_;
  double gap_;
  size_t max_states_;
  double dropped_;
  std::vector<std::vector<size_t>> live_;  // [item] candidates within the gap
  std::vector<size_t> order_;              // items as they are taken
  std::vector<uint64_t> rest_min_, rest_max_;
  std::vector<std::vector<Link>> links_;  // [position][state]
};

Allocation finish(const std::vector<Candidates>& items, const Choice& choice, double bound) {
  Allocation out;
  for (size_t i = 0; i < items.size(); ++i) out.choice.push_back(items[i][choice.candidate[i]].option);
  out.bytes = choice.bytes;
  out.loss = choice.loss;
  out.loss_bound = std::min(bound, choice.loss);
  return out;
}

}  // namespace

uint64_t smallest_allocation(std::span<const AllocationItem> items) {
  uint64_t sum = 0;
  for (const AllocationItem& item : items) {
    uint64_t smallest = std::numeric_limits<uint64_t>::max();
    for (const AllocationOption& option : item.options) smallest = std::min(smallest, option.bytes);
    const auto next = checked_add(sum, smallest);
    if (!next) fail(ErrorCode::resource_exhausted, "allocation: the sizes of the tensors do not fit 64 bits");
    sum = *next;
  }
  return sum;
}

Allocation allocate(std::span<const AllocationItem> items, uint64_t budget, const AllocationLimits& limits) {
  std::vector<Candidates> candidates;
  uint64_t largest = 0;
  for (const AllocationItem& item : items) {
    candidates.push_back(undominated(item));
    const auto next = checked_add(largest, candidates.back().back().bytes);
    if (!next) fail(ErrorCode::resource_exhausted, "allocation: the sizes of the tensors do not fit 64 bits");
    largest = *next;
  }
  const uint64_t smallest = smallest_allocation(items);
  if (smallest > budget) {
    fail(ErrorCode::invalid_argument, "allocation: found a budget of {} bytes, expected at least {}", budget, smallest);
  }
  double price = 0;
  Choice best = greedy(candidates, budget, &price);
  if (price == 0) return finish(candidates, best, best.loss);  // every item has its best option
  const double floor = set_surcharges(candidates, price, budget);
  // Rounding of sums over items must not cut off an equal or better choice.
  const double slack = 1e-12 * (std::fabs(best.loss) + price * static_cast<double>(budget));
  const double gap = std::max(best.loss - floor, 0.0) + slack;
  Search search(candidates, budget, price, gap, std::max<size_t>(limits.max_states, 1));
  const std::vector<size_t> found = search.run();
  if (!found.empty()) {
    Choice other = whole_choice(candidates, found);
    if (other.loss < best.loss || (other.loss == best.loss && other.bytes < best.bytes)) best = std::move(other);
  }
  return finish(candidates, best, floor + search.dropped_excess());
}

}  // namespace thimble
