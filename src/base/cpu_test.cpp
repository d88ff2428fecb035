#include "base/cpu.h"

#include <gtest/gtest.h>

namespace thimble {
namespace {

TEST(Cpu, WantsPrefetchFromZen5On) {
  EXPECT_FALSE(wants_prefetch("AuthenticAMD", 25));  // Zen 3 and Zen 4
  EXPECT_TRUE(wants_prefetch("AuthenticAMD", 26));
  EXPECT_TRUE(wants_prefetch("AuthenticAMD", 27));
  EXPECT_FALSE(wants_prefetch("GenuineIntel", 6));
  EXPECT_FALSE(wants_prefetch("GenuineIntel", 26));
  EXPECT_FALSE(wants_prefetch("", 26));
}

}  // namespace
}  // namespace thimble
