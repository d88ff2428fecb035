#include "text/composition.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <tuple>

namespace thimble {
namespace {

TEST(Composition, TextsInNfdAreComposed) {
  // Python's unicodedata.normalize("NFD", ...) of the text on the right.
  EXPECT_EQ(composed(U"Cafe\u0301 A\u030A"), U"Caf\u00E9 \u00C5");
  EXPECT_EQ(composed(U"Vie\u0323\u0302t"), U"Vi\u1EC7t");
  EXPECT_EQ(composed(U"\u1101\u1161\u11A8\u1103\u116E\u1100\u1175"), U"\uAE4D\uB450\uAE30");
  EXPECT_EQ(composed(U"\u304B\u3099"), U"\u304C");
  EXPECT_EQ(composed(U"x\u0301 \u0301"), U"x\u0301 \u0301");
  EXPECT_EQ(composed(U""), U"");
}

TEST(Composition, TheTableIsSortedForItsSearch) {
  ASSERT_GT(kCompositionPairCount, 900u);
  EXPECT_TRUE(std::is_sorted(kCompositionPairs, kCompositionPairs + kCompositionPairCount,
                             [](const CompositionPair& a, const CompositionPair& b) {
                               return std::tie(a.first, a.second) < std::tie(b.first, b.second);
                             }));
}

}  // namespace
}  // namespace thimble
