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

class Vectors : public testing::TestWithParam<Isa> {
 protected:
  const VectorKernels& kernels() const { return *select_vector(GetParam()); }
};
INSTANTIATE_TEST_SUITE_P(Isas, Vectors, testing::ValuesIn(supported_isas(host_cpu())),
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
  for (const Isa isa : supported_isas(host_cpu())) {
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

std::vector<int8_t> random_int8(size_t n, uint64_t seed) {
  Random random(seed);
  std::vector<int8_t> bytes(n);
  for (int8_t& b : bytes) b = static_cast<int8_t>(static_cast<int>(random.next() % 255) - 127);
  return bytes;
}

// Memory that ends at an inaccessible page and starts as kernels want it: at a multiple of 64.
template <typename T>
struct Block {
  explicit Block(int64_t n) : memory(static_cast<size_t>(n) * sizeof(T)) {}
  Block(const std::vector<T>& x) : Block(static_cast<int64_t>(x.size())) {
    std::memcpy(memory.data(), x.data(), memory.size());
  }
  T* data() { return memory.as<T>(); }
  GuardedMemory memory;
};

constexpr float kNone = -std::numeric_limits<float>::infinity();

struct RowsCase {
  int64_t n_q, n_tiles, dim;
};
constexpr RowsCase kRowsCases[] = {{1, 1, 16},  {1, 16, 64}, {2, 5, 64}, {3, 1, 128}, {4, 16, 32}, {5, 2, 48},
                                   {6, 3, 112}, {7, 7, 64},  {8, 1, 16}, {8, 16, 64}, {8, 2, 256}, {1, 3, 576}};

TEST_P(Vectors, ScoresOfHalvesAreBitEqualToScalar) {
  for (const auto& [n_q, n_tiles, dim] : kRowsCases) {
    const int64_t cells = n_tiles * kKeyLanes * dim;
    Floats q(n_q * dim, 1), k(cells, 2);
    Block<uint16_t> k16(cells);
    kVectorScalar.f32_to_f16(k.data(), k16.data(), cells);
    Floats expected(kStripRows * kKeyBlock, 5), actual(kStripRows * kKeyBlock, 5);
    ScoresArgs args = {q.data(), nullptr, k16.data(), nullptr, expected.data(), n_q, n_tiles, dim, nullptr};
    kVectorScalar.scores_f16(args);
    args.scores = actual.data();
    args.ahead = k16.data();
    kernels().scores_f16(args);
    ASSERT_EQ(std::memcmp(expected.data(), actual.data(), expected.memory.size()), 0) << n_q << " rows of " << dim;
  }
}

// With scales of one the scores are the integers themselves (below 2^24: exact floats).
TEST_P(Vectors, ScoresOfBytesAreBitEqualToScalar) {
  for (const auto& [n_q, n_tiles, dim] : kRowsCases) {
    const int64_t n_keys = n_tiles * kKeyLanes;
    Block<int8_t> q(random_int8(static_cast<size_t>(n_q * dim), 3));
    Block<int8_t> k(random_int8(static_cast<size_t>(n_keys * dim), 4));
    for (const bool extreme : {false, true}) {
      if (extreme) std::fill(q.data(), q.data() + n_q * dim, int8_t{-127});
      if (extreme) std::fill(k.data(), k.data() + n_keys * dim, int8_t{127});
      Block<float> ones(std::vector<float>(static_cast<size_t>(n_keys), 1.0f));
      const float q_scale[kStripRows] = {1, 1, 1, 1, 1, 1, 1, 1};
      Floats expected(kStripRows * kKeyBlock, 5), actual(kStripRows * kKeyBlock, 5);
      ScoresArgs args = {q.data(), q_scale, k.data(), ones.data(), expected.data(), n_q, n_tiles, dim, nullptr};
      kVectorScalar.scores_i8(args);
      args.scores = actual.data();
      args.ahead = k.data();
      kernels().scores_i8(args);
      ASSERT_EQ(std::memcmp(expected.data(), actual.data(), expected.memory.size()), 0) << n_q << " rows of " << dim;
    }
  }
}

TEST_P(Vectors, ScalesOfScoresAreBitEqualToScalar) {
  Block<int8_t> q(random_int8(8 * 64, 3)), k(random_int8(64 * 64, 4));
  Floats k_scale(64, 6), q_scale(8, 7), expected(kStripRows * kKeyBlock, 5), actual(kStripRows * kKeyBlock, 5);
  ScoresArgs args = {q.data(), q_scale.data(), k.data(), k_scale.data(), expected.data(), 8, 4, 64, nullptr};
  kVectorScalar.scores_i8(args);
  args.scores = actual.data();
  kernels().scores_i8(args);
  ASSERT_EQ(std::memcmp(expected.data(), actual.data(), expected.memory.size()), 0);
}

// What keeps greedy tokens the same on every machine: an activation that differs in its last bit may be quantized to
// another byte, and layers amplify that.
TEST_P(Vectors, FloatsAreBitEqualToScalar) {
  for (const int64_t n : lengths()) {
    Floats x(n, 1, 20.0f), up(n, 2), gate(n, 1, 20.0f);
    EXPECT_EQ(kernels().sum_of_squares(x.data(), n), kVectorScalar.sum_of_squares(x.data(), n)) << n;
    kernels().silu_mul(x.data(), up.data(), n);
    kVectorScalar.silu_mul(gate.data(), up.data(), n);
    ASSERT_EQ(std::memcmp(x.data(), gate.data(), static_cast<size_t>(n) * sizeof(float)), 0) << n;
  }
  for (const float spread : {1.0f, 40.0f, 1e4f}) {
    SoftmaxRow actual = {nullptr, nullptr, 5, 203, 208, kNone, 0.0f, 0.0f}, expected = actual;
    for (uint64_t block = 0; block < 3; ++block) {
      Floats x(208, block + 7, spread), y(208, block + 7, spread), v_scale(208, 9);
      actual.scores = x.data();
      expected.scores = y.data();
      if (block == 2) actual.v_scale = expected.v_scale = v_scale.data();
      EXPECT_EQ(kernels().soften(actual), kVectorScalar.soften(expected));
      EXPECT_EQ(actual.sum, expected.sum) << spread;
      ASSERT_EQ(std::memcmp(x.data(), y.data(), 208 * sizeof(float)), 0) << spread;
    }
    EXPECT_EQ(actual.largest, expected.largest);
  }
}

// Blocks of a softmax one after the other against double precision, with keys that are not seen at either end.
TEST_P(Vectors, SoftenFollowsDoubleOverBlocks) {
  for (const float spread : {1.0f, 40.0f, 1e4f}) {
    for (const auto& [n, begin, end] : std::vector<std::tuple<int64_t, int64_t, int64_t>>{
             {16, 0, 16}, {16, 3, 4}, {256, 0, 256}, {256, 17, 239}, {32, 15, 17}, {48, 0, 1}, {64, 31, 64}}) {
      double max = -1e30, sum = 0.0;
      float keeps = 1.0f;
      SoftmaxRow row = {nullptr, nullptr, begin, end, n, kNone, 0.0f, 0.0f};
      for (uint64_t block = 0; block < 3; ++block) {
        Floats x(n, block + 7, spread);
        const std::vector<double> exact(x.data() + begin, x.data() + end);
        row.scores = x.data();
        const float keep = kernels().soften(row);
        const double new_max = std::max(max, *std::max_element(exact.begin(), exact.end()));
        ASSERT_EQ(row.max, static_cast<float>(new_max));
        ASSERT_NEAR(keep, block == 0 ? 0.0 : std::exp2(max - new_max), 1e-6);
        sum *= std::exp2(max - new_max);
        max = new_max;
        keeps *= block == 0 ? 1.0f : keep;
        for (int64_t j = 0; j < n; ++j) {
          const bool seen = j >= begin && j < end;
          const double e = seen ? std::exp2(exact[static_cast<size_t>(j - begin)] - max) : 0.0;
          sum += e;
          // score - max rounds: an error of eps |score| in the exponent, besides that of the exponential.
          ASSERT_NEAR(x.data()[j], e, e * (2e-6 + static_cast<double>(spread) * 2.4e-7) + (seen ? 1e-37 : 0.0));
        }
        ASSERT_NEAR(row.sum, sum, sum * (4e-6 + static_cast<double>(spread) * 2.4e-7));
      }
      ASSERT_LE(keeps, 1.0f);
    }
  }
}

TEST_P(Vectors, SoftenDoesNotDependOnUnseenKeys) {
  Floats x(64, 1);
  std::vector<float> longer(x.data(), x.data() + 64), shorter(longer);
  std::fill(longer.begin() + 21, longer.end(), kNan);
  Block<float> a(longer), b(shorter);
  SoftmaxRow row_a = {a.data(), nullptr, 2, 21, 64, kNone, 0.0f, 0.0f};
  SoftmaxRow row_b = {b.data(), nullptr, 2, 21, 32, kNone, 0.0f, 0.0f};
  EXPECT_EQ(kernels().soften(row_a), kernels().soften(row_b));
  EXPECT_EQ(row_a.sum, row_b.sum);
  EXPECT_EQ(std::memcmp(a.data(), b.data(), 32 * sizeof(float)), 0);
  for (int64_t j = 21; j < 64; ++j) EXPECT_EQ(a.data()[j], 0.0f);
}

TEST_P(Vectors, SoftenShowsNotANumber) {
  for (const float bad : {kNan, kInfinity}) {
    Floats x(32, 1);
    x.data()[9] = bad;
    SoftmaxRow row = {x.data(), nullptr, 0, 32, 32, kNone, 0.0f, 0.0f};
    kernels().soften(row);
    EXPECT_TRUE(std::isnan(row.sum));
  }
}

// Sums of products of weights and values. A weight of table T is readable only by T's mix_i8: values that pick single
// keys show the rounded weights.
TEST_P(Vectors, MixedBytesAreBitEqualToScalar) {
  for (const auto& [n_q, n_tiles, dim] : kRowsCases) {
    const int64_t n_keys = n_tiles * kKeyLanes - (n_tiles > 1 ? 4 : 0);
    Block<int8_t> v(random_int8(static_cast<size_t>(n_keys * dim), 4));
    Floats p(n_q * kKeyBlock, 1);
    for (int64_t i = 0; i < n_q * kKeyBlock; ++i) p.data()[i] = i % 5 == 3 ? 0.0f : std::abs(p.data()[i]);
    Block<uint16_t> w_expected(n_q * kKeyBlock), w_actual(n_q * kKeyBlock);
    float keep[kStripRows] = {}, scale[kStripRows] = {};
    for (int64_t i = 0; i < n_q; ++i) {
      const float* row = p.data() + i * kKeyBlock;
      const int64_t n = n_tiles * kKeyLanes;
      const float largest = *std::max_element(row, row + n);
      scale[i] = kVectorScalar.round_weights(row, largest, n, w_expected.data() + i * kKeyBlock);
      ASSERT_EQ(kernels().round_weights(row, largest, n, w_actual.data() + i * kKeyBlock), scale[i]);
      keep[i] = 0.0f;
      scale[i] = 1.0f;
    }
    Floats expected(n_q * dim, 5), actual(n_q * dim, 5);
    MixArgs args = {w_expected.data(), scale, keep, v.data(), expected.data(), n_q, n_keys, dim, nullptr};
    kVectorScalar.mix_i8(args);
    args.weights = w_actual.data();
    args.out = actual.data();
    args.ahead = v.data();
    kernels().mix_i8(args);
    ASSERT_EQ(std::memcmp(expected.data(), actual.data(), expected.memory.size()), 0) << n_q << " rows of " << dim;
  }
}

TEST_P(Vectors, RoundedWeightsStayWithinHalfAStep) {
  Floats x(256, 1);
  for (int64_t j = 0; j < 256; ++j) x.data()[j] = j % 7 == 0 ? 0.0f : std::abs(x.data()[j]);
  const float largest = *std::max_element(x.data(), x.data() + 256);
  Block<uint16_t> w(kKeyBlock);
  const float scale = kernels().round_weights(x.data(), largest, 256, w.data());
  EXPECT_FLOAT_EQ(scale, largest / static_cast<float>(kMaxWeight));
  // Key j has the value 1 in dimension j alone: mixing reads the weights back.
  Block<int8_t> v(256 * 256);
  std::fill(v.data(), v.data() + 256 * 256, int8_t{0});
  for (int64_t j = 0; j < 256; ++j) v.data()[(j / 4 * 256 + j) * 4 + j % 4] = 1;
  Floats out(256, 3);
  const float keep = 0.0f;
  kernels().mix_i8({w.data(), &scale, &keep, v.data(), out.data(), 1, 256, 256, nullptr});
  for (int64_t j = 0; j < 256; ++j) ASSERT_NEAR(out.data()[j], x.data()[j], scale * 0.501f) << j;
  for (const float bad : {kNan, kInfinity}) {
    EXPECT_TRUE(std::isnan(kernels().round_weights(x.data(), bad, 256, w.data())));
  }
  std::fill(x.data(), x.data() + 256, 0.0f);
  EXPECT_EQ(kernels().round_weights(x.data(), 0.0f, 256, w.data()), 0.0f);
}

TEST_P(Vectors, SoftenScalesByTheValuesScales) {
  Floats x(64, 1), v_scale(64, 2);
  for (int64_t j = 0; j < 64; ++j) v_scale.data()[j] = std::abs(v_scale.data()[j]);
  Block<float> plain(std::vector<float>(x.data(), x.data() + 64));
  v_scale.data()[1] = v_scale.data()[40] = kNan;  // not seen
  SoftmaxRow row = {plain.data(), nullptr, 2, 39, 64, kNone, 0.0f, 0.0f};
  SoftmaxRow scaled = {x.data(), v_scale.data(), 2, 39, 64, kNone, 0.0f, 0.0f};
  EXPECT_EQ(kernels().soften(scaled), kernels().soften(row));
  EXPECT_EQ(scaled.sum, row.sum);
  float largest = 0.0f;
  for (int64_t j = 0; j < 64; ++j) {
    const bool seen = j >= 2 && j < 39;
    ASSERT_EQ(x.data()[j], seen ? plain.data()[j] * v_scale.data()[j] : 0.0f);
    largest = std::max(largest, x.data()[j]);
  }
  EXPECT_EQ(scaled.largest, largest);
  v_scale.data()[30] = kNan;
  kernels().soften(scaled);
  EXPECT_TRUE(std::isnan(scaled.largest));
}

TEST_P(Vectors, MixedValuesAreBitEqualToScalar) {
  for (const auto& [n_q, n_tiles, dim] : kRowsCases) {
    for (const int64_t n_keys : {n_tiles * kKeyLanes, n_tiles * kKeyLanes - 3, int64_t{1}}) {
      Floats p(n_q * kKeyBlock, 1), v(n_keys * dim, 2), keep(n_q, 3);
      Block<uint16_t> v16(n_keys * dim);
      kVectorScalar.f32_to_f16(v.data(), v16.data(), n_keys * dim);
      Floats expected(n_q * dim, 5), actual(n_q * dim, 5);
      MixArgs args = {p.data(), nullptr, keep.data(), v16.data(), expected.data(), n_q, n_keys, dim, nullptr};
      kVectorScalar.mix_f16(args);
      args.out = actual.data();
      args.ahead = v16.data();
      kernels().mix_f16(args);
      ASSERT_EQ(std::memcmp(expected.data(), actual.data(), expected.memory.size()), 0) << dim;
    }
  }
}

TEST_P(Vectors, ScaledRowsAreAddedBitEqualToScalar) {
  for (const int64_t n : {1, 3, 4, 15, 16, 17, 64, 71, 256}) {
    for (const int64_t n_rows : {0, 1, 2, 32}) {
      Random random(static_cast<uint64_t>(n * 100 + n_rows));
      GuardedMemory values(static_cast<size_t>(n * n_rows) * sizeof(float));
      for (int64_t i = 0; i < n * n_rows; ++i) values.as<float>()[i] = static_cast<float>(random.uniform());
      GuardedMemory expected(static_cast<size_t>(n) * sizeof(float)), actual(expected.size());
      for (int64_t i = 0; i < n; ++i) {
        expected.as<float>()[i] = actual.as<float>()[i] = static_cast<float>(random.uniform());
      }
      std::vector<ScaledRow> rows;
      for (int64_t r = 0; r < n_rows; ++r) {
        rows.push_back({values.as<float>() + r * n, static_cast<float>(random.uniform())});
      }
      kVectorScalar.add_scaled_rows(expected.as<float>(), n, rows.data(), n_rows);
      kernels().add_scaled_rows(actual.as<float>(), n, rows.data(), n_rows);
      EXPECT_EQ(std::memcmp(expected.data(), actual.data(), expected.size()), 0) << n << " x " << n_rows;
    }
  }
}

TEST_P(Vectors, SumsOfProductsAreBitEqualToScalarInWholeAndInPieces) {
  constexpr int64_t kStride = 72;
  for (const int64_t n_a : {1, 2, 3, 4, 5, 8, 15}) {
    for (const int64_t n_groups : {1, 2, 3, 4, 9}) {
      for (const int64_t depth : {0, 1, 4, 7, 68}) {
        // Rows end at the guard page: the last one has `depth` numbers, not a whole stride.
        GuardedMemory a(static_cast<size_t>((n_a - 1) * kStride + depth) * sizeof(double));
        GuardedMemory b(static_cast<size_t>(n_groups * depth * kProductGroup) * sizeof(double));
        Random random(static_cast<uint64_t>(n_a * 100 + n_groups));
        for (GuardedMemory* memory : {&a, &b}) {
          for (size_t i = 0; i < memory->size() / sizeof(double); ++i) {
            memory->as<double>()[i] = static_cast<double>(random.uniform()) * (1.0 + 1e-9 * random.uniform());
          }
        }
        GuardedMemory expected(static_cast<size_t>(n_a * n_groups * kProductGroup) * sizeof(double));
        GuardedMemory actual(expected.size()), pieces(expected.size());
        for (GuardedMemory* memory : {&expected, &actual, &pieces}) std::memset(memory->data(), 0, memory->size());
        const auto args = [&](GuardedMemory& sums, int64_t from, int64_t to) {
          return ProductsArgs{a.as<double>() + from,
                              b.as<double>() + from * kProductGroup,
                              n_a,
                              n_groups,
                              kStride,
                              depth * kProductGroup,
                              to - from,
                              sums.as<double>(),
                              n_groups * kProductGroup};
        };
        kVectorScalar.add_products_f64(args(expected, 0, depth));
        kernels().add_products_f64(args(actual, 0, depth));
        EXPECT_EQ(std::memcmp(expected.data(), actual.data(), expected.size()), 0)
            << n_a << " " << n_groups << " " << depth;
        const int64_t half = depth / 2;
        kernels().add_products_f64(args(pieces, 0, half));
        kernels().add_products_f64(args(pieces, half, depth));
        EXPECT_EQ(std::memcmp(expected.data(), pieces.data(), expected.size()), 0)
            << n_a << " " << n_groups << " " << depth;
      }
    }
  }
}

}  // namespace
}  // namespace thimble::kernels
