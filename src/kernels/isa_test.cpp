// Names, fallbacks and detection of instruction sets.
#include "kernels/isa.h"

#include <gtest/gtest.h>

#include <cstdlib>

namespace thimble::kernels {
namespace {

TEST(Isa, NamesRoundTrip) {
  for (const Isa isa : all_isas()) EXPECT_EQ(isa_from_name(isa_name(isa)), isa);
  EXPECT_EQ(isa_from_name("avx512"), std::nullopt);
  EXPECT_EQ(isa_from_name(""), std::nullopt);
}

TEST(Isa, SupportedOnesFollowTheFeatures) {
  CpuFeatures arm;
  arm.neon = true;
  EXPECT_EQ(supported_isas({}), std::vector<Isa>{Isa::scalar});
  EXPECT_EQ(supported_isas(arm), (std::vector<Isa>{Isa::scalar, Isa::neon}));
}

TEST(Isa, FallbacksStartWithItselfAndEndWithScalar) {
  for (const Isa isa : all_isas()) {
    const std::vector<Isa> list = fallbacks(isa);
    EXPECT_EQ(list.front(), isa);
    EXPECT_EQ(list.back(), Isa::scalar);
  }
}

TEST(Isa, BestFollowsFeatures) {
  CpuFeatures cpu;
  EXPECT_EQ(best_isa(cpu), Isa::scalar);
  cpu.avx2 = true;
  EXPECT_EQ(best_isa(cpu), Isa::avx2);
  EXPECT_FALSE(supports(cpu, Isa::avx512_vnni));
  cpu.avx512_vnni = true;
  EXPECT_EQ(best_isa(cpu), Isa::avx512_vnni);
  EXPECT_EQ(best_isa(cpu), Isa::avx512_vnni);
  EXPECT_FALSE(supports(cpu, Isa::avx512_amx));
  CpuFeatures arm;
  arm.neon = true;
  EXPECT_EQ(best_isa(arm), Isa::neon);
  arm.neon_dotprod = true;
  EXPECT_EQ(best_isa(arm), Isa::neon_dotprod);
  EXPECT_FALSE(supports(arm, Isa::neon_i8mm));
  arm.neon_i8mm = true;
  EXPECT_EQ(best_isa(arm), Isa::neon_i8mm);
  EXPECT_FALSE(supports(arm, Isa::avx2));
}

// Whoever knows the machine says what it must be found to be: scripts/qemu_tests for every CPU model, and fails when
// this test was not among those that passed.
TEST(Isa, HostIsTheExpectedOne) {
  const char* expected = std::getenv("THIMBLE_EXPECT_ISA");
  if (expected == nullptr) GTEST_SKIP() << "THIMBLE_EXPECT_ISA does not name the instruction set of this machine";
  EXPECT_EQ(isa_name(best_isa(host_cpu())), expected);
}

}  // namespace
}  // namespace thimble::kernels
