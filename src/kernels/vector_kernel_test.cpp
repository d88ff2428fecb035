// Row operations of every instruction set against the scalar table, at every length around a register, in memory that
// ends at an inaccessible page.
#include "kernels/vector_kernel.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <string>
#include <tuple>
#include <vector>

#include "base/float16.h"
#include "kernels/guarded_memory_test.h"
#include "kernels/vector_registry.h"

namespace thimble::kernels {
namespace {

std::vector<Isa> host_isas() {
  std::vector<Isa> list;
  for (const Isa isa : {Isa::scalar, Isa::avx2, Isa::avx512_vnni, Isa::neon, Isa::neon_dotprod, Isa::neon_i8mm}) {
    if (supports(host_cpu(), isa)) list.push_back(isa);
  }
  return list;
}

class Vectors : public testing::TestWithParam<Isa> {
 protected:
  const VectorKernels& kernels() const { return *select_vector(GetParam()); }
};
INSTANTIATE_TEST_SUITE_P(Isas, Vectors, testing::ValuesIn(host_isas()),
                         [](const auto& param_info) { return std::string(isa_name(param_info.param)); });

// n floats that end at a guard page.
struct Floats {
  Floats(int64_t n, uint64_t seed, float scale = 1.0f) : memory(static_cast<size_t>(n) * sizeof(float)) {
    Random random(seed);
    for (int64_t i = 0; i < n; ++i) data()[i] = random.uniform() * scale;
  }
  float* data() { return memory.as<float>(); }
  GuardedMemory memory;
};

std::vector<int64_t> lengths() {
  std::vector<int64_t> list;
  for (int64_t n = 1; n <= 40; ++n) list.push_back(n);
  for (const int64_t n : {63, 64, 65, 127, 257}) list.push_back(n);
  return list;
}

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

TEST(VectorSelect, ForcedInstructionSetIsTheOneThatIsUsed) {
  for (const Isa isa : host_isas()) {
    if (isa == Isa::scalar) {
      EXPECT_EQ(select_vector(isa), &kVectorScalar);
    } else {
      EXPECT_NE(select_vector(isa), &kVectorScalar) << isa_name(isa);
    }
  }
}

TEST_P(Vectors, QuantizedActivationsAreBitEqualToScalar) {
  for (const int64_t k : {32, 64, 96, 256, 288, 512, 768}) {
    for (const float scale : {1.0f, 1e-20f, 1e-33f, 1e30f, 0.0f}) {
      Floats x(k, static_cast<uint64_t>(k), scale);
      const size_t groups = static_cast<size_t>(k + 255) / 256;
      GuardedMemory expected(groups * sizeof(ActivationGroup)), actual(groups * sizeof(ActivationGroup));
      kVectorScalar.quantize_q8_block(x.data(), expected.as<ActivationGroup>(), k);
      kernels().quantize_q8_block(x.data(), actual.as<ActivationGroup>(), k);
      ASSERT_EQ(std::memcmp(expected.data(), actual.data(), expected.size()), 0)
          << "blocks, k " << k << " scale " << scale;
      if (k % 256 != 0) continue;
      kVectorScalar.quantize_q8_super(x.data(), expected.as<ActivationGroup>(), k);
      kernels().quantize_q8_super(x.data(), actual.as<ActivationGroup>(), k);
      ASSERT_EQ(std::memcmp(expected.data(), actual.data(), expected.size()), 0) << "supers, k " << k;
    }
  }
}

TEST_P(Vectors, QuantizationRoundsToHalfAStep) {
  Floats x(512, 5, 3.0f);
  GuardedMemory out(2 * sizeof(ActivationGroup));
  kernels().quantize_q8_block(x.data(), out.as<ActivationGroup>(), 512);
  for (int i = 0; i < 512; ++i) {
    const ActivationGroup& group = out.as<ActivationGroup>()[i / 256];
    const float d = group.d[i % 256 / 32];
    EXPECT_NEAR(static_cast<float>(group.q[i % 256]) * d, x.data()[i], d * 0.5001f);
    EXPECT_GE(group.q[i % 256], -127);
  }
  for (int s = 0; s < 32; ++s) {
    int sum = 0;
    for (int i = 0; i < 16; ++i) sum += out.as<ActivationGroup>()[s / 16].q[16 * (s % 16) + i];
    EXPECT_EQ(out.as<ActivationGroup>()[s / 16].sums[s % 16], sum);
  }
}

TEST_P(Vectors, NotANumberReachesTheScale) {
  for (const float bad : {kNan, kInfinity, -kInfinity}) {
    for (const size_t at : {0u, 17u, 31u}) {
      Floats x(256, 6);
      x.data()[32 + at] = bad;
      ActivationGroup group;
      kernels().quantize_q8_block(x.data(), &group, 256);
      EXPECT_TRUE(std::isnan(group.d[1]));
      EXPECT_FALSE(std::isnan(group.d[0]));
      kernels().quantize_q8_super(x.data(), &group, 256);
      EXPECT_TRUE(std::isnan(group.d[0]));
    }
  }
}

TEST_P(Vectors, QuantizeInt8AndHalvesAreBitEqualToScalar) {
  for (const int64_t n : lengths()) {
    Floats x(n, static_cast<uint64_t>(n), 100.0f);
    GuardedMemory expected(static_cast<size_t>(n)), actual(static_cast<size_t>(n));
    const float expected_scale = kVectorScalar.quantize_i8(x.data(), expected.as<int8_t>(), n);
    EXPECT_EQ(kernels().quantize_i8(x.data(), actual.as<int8_t>(), n), expected_scale);
    ASSERT_EQ(std::memcmp(expected.data(), actual.data(), expected.size()), 0) << n;
    GuardedMemory half(static_cast<size_t>(n) * 2);
    kernels().f32_to_f16(x.data(), half.as<uint16_t>(), n);
    for (int64_t i = 0; i < n; ++i) ASSERT_EQ(half.as<uint16_t>()[i], f32_to_f16(x.data()[i])) << n;
  }
}

// n products of one rounding each and n additions: within (n + 1) eps of the exact sum of positive terms.
TEST_P(Vectors, SumsScalesAndAdditions) {
  for (const int64_t n : lengths()) {
    Floats x(n, 1), y(n, 2), out(n, 3);
    double squares = 0.0;
    for (int64_t i = 0; i < n; ++i) squares += std::pow(static_cast<double>(x.data()[i]), 2);
    EXPECT_NEAR(kernels().sum_of_squares(x.data(), n), squares, squares * static_cast<double>(n + 1) * 1.2e-7);
    kernels().scale_by_weight(x.data(), y.data(), 0.75f, out.data(), n);
    for (int64_t i = 0; i < n; ++i) ASSERT_EQ(out.data()[i], x.data()[i] * 0.75f * y.data()[i]);
    kernels().add(out.data(), x.data(), n);
    for (int64_t i = 0; i < n; ++i) ASSERT_EQ(out.data()[i], x.data()[i] * 0.75f * y.data()[i] + x.data()[i]);
  }
}

TEST_P(Vectors, SoftmaxSumsToOneAndFollowsDouble) {
  for (const int64_t n : lengths()) {
    for (const float scale : {1.0f, 30.0f, 1e4f}) {
      Floats x(n, static_cast<uint64_t>(n) + 7, scale);
      std::vector<double> exact(x.data(), x.data() + n);
      const double max = *std::max_element(exact.begin(), exact.end());
      double sum = 0.0;
      for (double& v : exact) sum += v = std::exp(v - max);
      kernels().softmax(x.data(), n);
      for (int64_t i = 0; i < n; ++i) {
        const double expected = exact[static_cast<size_t>(i)] / sum;
        // x - max rounds: an error of eps |x| in the exponent, besides that of exp and the sum.
        ASSERT_NEAR(x.data()[i], expected, expected * (4e-6 + static_cast<double>(scale) * 2.4e-7) + 1e-37) << n;
      }
    }
  }
}

// Dot products of `dim` terms: two orders of summation differ by at most 2 (dim + 1) eps sum|q k|, here with |q|, |k|
// < 1.
TEST_P(Vectors, ScoresFollowScalar) {
  for (const int64_t dim : {1, 4, 8, 16, 20, 64, 100, 128, 136, 256}) {
    for (const int64_t n_keys : {1, 3, 15, 16, 17, 35}) {
      for (const int64_t n_q : {1, 3, 4, 8, 9}) {
        const auto cells = static_cast<size_t>(n_keys * dim);
        Floats q(n_q * dim, 1), k(n_keys * dim, 2), k_scale(n_keys, 3), q_scale(n_q, 4);
        GuardedMemory k16(cells * 2), k8(cells), q8(static_cast<size_t>(n_q * dim));
        kVectorScalar.f32_to_f16(k.data(), k16.as<uint16_t>(), n_keys * dim);
        kVectorScalar.quantize_i8(k.data(), k8.as<int8_t>(), n_keys * dim);
        kVectorScalar.quantize_i8(q.data(), q8.as<int8_t>(), n_q * dim);
        Floats expected(n_q * n_keys, 5), actual(n_q * n_keys, 6);
        ScoresArgs args = {q.data(),        nullptr, k16.data(), dim,    nullptr, 0,
                           expected.data(), n_keys,  n_q,        n_keys, dim,     0.5f};
        kVectorScalar.scores_f16(args);
        args.scores = actual.data();
        kernels().scores_f16(args);
        for (int64_t i = 0; i < n_q * n_keys; ++i) {
          ASSERT_NEAR(actual.data()[i], expected.data()[i], static_cast<double>(dim * (dim + 1)) * 1.2e-7) << dim;
        }
        args.q = q8.data();
        args.q_scale = q_scale.data();
        args.k = k8.data();
        args.k_scale = k_scale.data();
        args.k_scale_stride = 1;
        args.scores = expected.data();
        kVectorScalar.scores_i8(args);
        args.scores = actual.data();
        kernels().scores_i8(args);
        for (int64_t i = 0; i < n_q * n_keys; ++i) {
          // The integer is exact; the three float factors may be multiplied in another order.
          ASSERT_NEAR(actual.data()[i], expected.data()[i], std::abs(expected.data()[i]) * 5e-7f) << dim;
        }
      }
    }
  }
}

TEST_P(Vectors, MixesFollowScalar) {
  for (const int64_t dim : {1, 3, 8, 20, 64, 100, 128, 136}) {
    for (const int64_t n_keys : {0, 1, 2, 33}) {
      for (const int64_t n_q : {1, 3, 4, 6}) {
        const auto cells = static_cast<size_t>(n_keys * dim);
        Floats weights(n_q * n_keys, 1), v(n_keys * dim, 2), scales(n_keys, 3);
        GuardedMemory v16(cells * 2), v8(cells);
        kVectorScalar.f32_to_f16(v.data(), v16.as<uint16_t>(), n_keys * dim);
        for (size_t i = 0; i < cells; ++i) v8.as<int8_t>()[i] = static_cast<int8_t>(v.data()[i] * 127.0f);
        for (const bool f16 : {true, false}) {
          Floats expected(n_q * dim, 5), actual(n_q * dim, 5);
          MixArgs args = {
              weights.data(), n_keys, f16 ? v16.data() : v8.data(), dim, scales.data(), 1, expected.data(), n_q,
              n_keys,         dim};
          (f16 ? kVectorScalar.mix_f16 : kVectorScalar.mix_i8)(args);
          args.out = actual.data();
          (f16 ? kernels().mix_f16 : kernels().mix_i8)(args);
          // n_keys fused or separate roundings of terms below 1 (f16) or 127 (int8).
          const double bound =
              static_cast<double>(n_keys + 1) * (f16 ? 1.0 : 127.0) * static_cast<double>(n_keys + 1) * 1.2e-7;
          for (int64_t i = 0; i < n_q * dim; ++i) ASSERT_NEAR(actual.data()[i], expected.data()[i], bound) << dim;
        }
      }
    }
  }
}

}  // namespace
}  // namespace thimble::kernels
