// The allocator against enumeration of every choice, at the limits of the budget, and at the size of real models.
#include "quantize/allocation.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

#include "base/error.h"

namespace thimble {
namespace {

AllocationItem item(std::vector<AllocationOption> options) {
  return {{"t"}, std::move(options)};
}

// Least loss within the budget, and the fewest bytes it takes; by trying everything.
struct Best {
  double loss = std::numeric_limits<double>::infinity();
  uint64_t bytes = 0;
};

void enumerate(const std::vector<AllocationItem>& items, size_t at, uint64_t bytes, double loss, uint64_t budget,
               Best* best) {
  if (bytes > budget) return;
  if (at == items.size()) {
    if (loss < best->loss || (loss == best->loss && bytes < best->bytes)) *best = {loss, bytes};
    return;
  }
  for (const AllocationOption& o : items[at].options) {
    enumerate(items, at + 1, bytes + o.bytes, loss + o.loss, budget, best);
  }
}

// Losses are multiples of 1/64: sums are exact in any order, so that ties are ties.
std::vector<AllocationItem> random_items(std::mt19937& random, size_t n_items, size_t max_options) {
  std::vector<AllocationItem> items;
  for (size_t i = 0; i < n_items; ++i) {
    std::vector<AllocationOption> options;
    const size_t n = 1 + random() % max_options;
    for (size_t o = 0; o < n; ++o) {
      options.push_back({TensorType::q4_k, 1 + random() % 40, static_cast<double>(random() % 200) / 64.0 - 0.25});
    }
    items.push_back(item(std::move(options)));
  }
  return items;
}

TEST(Allocation, EqualsEnumerationOfAllChoices) {
  std::mt19937 random(7);
  for (int round = 0; round < 300; ++round) {
    const std::vector<AllocationItem> items = random_items(random, 1 + random() % 7, 5);
    const uint64_t smallest = smallest_allocation(items);
    const uint64_t budget = smallest + random() % 120;
    Best best;
    enumerate(items, 0, 0, 0, budget, &best);
    const Allocation found = allocate(items, budget);
    EXPECT_EQ(found.loss, best.loss) << "round " << round;
    EXPECT_EQ(found.bytes, best.bytes) << "round " << round;
    EXPECT_EQ(found.loss_bound, found.loss);
    uint64_t bytes = 0;
    double loss = 0;
    for (size_t i = 0; i < items.size(); ++i) {
      bytes += items[i].options[found.choice[i]].bytes;
      loss += items[i].options[found.choice[i]].loss;
    }
    EXPECT_EQ(bytes, found.bytes);
    EXPECT_EQ(loss, found.loss);
  }
}

TEST(Allocation, TakesTheSmallestWhenNothingElseFitsAndTheBestWhenAllDoes) {
  const std::vector<AllocationItem> items = {
      item({{TensorType::q8_0, 80, 0.1}, {TensorType::q4_k, 40, 1.0}}),
      item({{TensorType::q4_k, 20, 3.0}, {TensorType::q8_0, 50, 0.2}, {TensorType::q6_k, 60, 0.4}}),
  };
  EXPECT_EQ(smallest_allocation(items), 60u);
  EXPECT_EQ(allocate(items, 60).choice, (std::vector<size_t>{1, 0}));
  // q6_k is larger and worse than q8_0 in the second item: never chosen.
  EXPECT_EQ(allocate(items, 1000).choice, (std::vector<size_t>{0, 1}));
  EXPECT_EQ(allocate(items, 1000).bytes, 130u);
}

TEST(Allocation, RefusesAnUnreachableBudgetAndNamesTheSmallest) {
  const std::vector<AllocationItem> items = {item({{TensorType::q4_k, 40, 1.0}}), item({{TensorType::q6_k, 33, 1.0}})};
  try {
    allocate(items, 72);
    FAIL() << "no error";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::invalid_argument);
    EXPECT_NE(std::string(e.what()).find("at least 73"), std::string::npos) << e.what();
  }
}

TEST(Allocation, RefusesLossesThatAreNoNumbersAndItemsWithoutOptions) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  EXPECT_THROW(allocate(std::vector{item({{TensorType::q4_k, 40, nan}})}, 100), Error);
  EXPECT_THROW(allocate(std::vector{item({})}, 100), Error);
  const uint64_t huge = std::numeric_limits<uint64_t>::max() - 5;
  EXPECT_THROW(allocate(std::vector{item({{TensorType::q4_k, huge, 1}}), item({{TensorType::q4_k, huge, 1}})}, huge),
               Error);
}

TEST(Allocation, OfNothingIsNothing) {
  const Allocation found = allocate({}, 10);
  EXPECT_TRUE(found.choice.empty());
  EXPECT_EQ(found.bytes, 0u);
}

// 32 layers of 7 matrices in the shapes of a 7B model, six types each, losses that fall by about four per bit.
std::vector<AllocationItem> model_sized_items(uint32_t seed) {
  constexpr uint64_t kElements[] = {16777216, 4194304, 4194304, 16777216, 58720256, 58720256, 58720256};
  constexpr double kBits[] = {3.4375, 4.25, 4.5, 5.5, 6.5625, 8.5};
  std::mt19937 random(seed);
  std::uniform_real_distribution<double> uniform(0.2, 1.0);
  std::vector<AllocationItem> items;
  for (int layer = 0; layer < 32; ++layer) {
    for (const uint64_t elements : kElements) {
      const double scale = uniform(random) * uniform(random);
      std::vector<AllocationOption> options;
      for (const double bits : kBits) {
        options.push_back({TensorType::q4_k, static_cast<uint64_t>(static_cast<double>(elements) * bits / 8),
                           scale * uniform(random) * std::pow(4.0, -bits)});
      }
      items.push_back(item(std::move(options)));
    }
  }
  return items;
}

TEST(Allocation, ProvesTheBestChoiceForAModelOfTwoHundredTensors) {
  const std::vector<AllocationItem> items = model_sized_items(3);
  uint64_t elements_bits_8 = 0;
  for (const AllocationItem& i : items) elements_bits_8 += i.options.back().bytes;
  const auto budget = static_cast<uint64_t>(static_cast<double>(elements_bits_8) / 8.5 * 4.5);
  const Allocation found = allocate(items, budget);
  EXPECT_LE(found.bytes, budget);
  EXPECT_GT(static_cast<double>(found.bytes), 0.9999 * static_cast<double>(budget));
  EXPECT_EQ(found.loss_bound, found.loss);
  EXPECT_EQ(found.choice, allocate(items, budget).choice);
}

TEST(Allocation, SaysHowFarFromTheBestItMayBeWhenStatesRunOut) {
  const std::vector<AllocationItem> items = model_sized_items(4);
  const uint64_t budget = smallest_allocation(items) * 5 / 4;
  AllocationLimits few;
  few.max_states = 3;
  const Allocation rough = allocate(items, budget, few);
  const Allocation exact = allocate(items, budget);
  EXPECT_LE(rough.bytes, budget);
  EXPECT_LE(rough.loss_bound, exact.loss * (1 + 1e-9));
  EXPECT_GE(rough.loss, exact.loss * (1 - 1e-9));
}

}  // namespace
}  // namespace thimble
