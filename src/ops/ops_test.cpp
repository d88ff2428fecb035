// Operations against naive double-precision code, on every instruction set of this machine and several thread counts.
#include "ops/ops.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "base/cpu.h"
#include "base/error.h"
#include "base/float16.h"
#include "kernels/matmul_kernel.h"
#include "kernels/vector_registry.h"
#include "ops/test_random.h"

namespace thimble::ops {
namespace {

using kernels::Isa;

class Ops : public testing::TestWithParam<Isa> {};
INSTANTIATE_TEST_SUITE_P(Isas, Ops, testing::ValuesIn(kernels::supported_isas(host_cpu())),
                         [](const auto& param_info) { return std::string(kernels::isa_name(param_info.param)); });

TEST_P(Ops, BackendUsesTheForcedInstructionSet) {
  ThreadPool pool(1);
  const Backend backend = make_backend(pool, GetParam());
  EXPECT_EQ(backend.isa, GetParam());
  EXPECT_EQ(backend.vector, kernels::select_vector(GetParam()));
  const std::vector<float> data(256 * 2);
  const TensorView view = {TensorType::f32, {256, 2, 1, 1}, std::as_bytes(std::span(data))};
  const Weight weight = prepare_weight(view, GetParam());
  EXPECT_EQ(weight.kernel, kernels::select(TensorType::f32, GetParam()));
}

TEST(OpsErrors, ForeignInstructionSetIsRefused) {
  ThreadPool pool(1);
  const Isa foreign = host_cpu().neon ? Isa::avx2 : Isa::neon;
  try {
    make_backend(pool, foreign);
    FAIL() << "accepted";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::unsupported);
    EXPECT_NE(std::string(e.what()).find(kernels::isa_name(foreign)), std::string::npos) << e.what();
  }
}

TEST(OpsErrors, WeightsWithoutKernelAreRefused) {
  const std::vector<int32_t> data(64);
  const TensorView integers = {TensorType::i32, {32, 2, 1, 1}, std::as_bytes(std::span(data))};
  EXPECT_THROW(prepare_weight(integers, Isa::scalar), Error);
  const TensorView ragged = {TensorType::q8_0, {33, 1, 1, 1}, {}};
  EXPECT_THROW(prepare_weight(ragged, Isa::scalar), Error);
}

struct Matrix {
  std::vector<std::byte> bytes;
  std::vector<float> values;  // decoded
  TensorView view;
};

Matrix make_matrix(TensorType type, int64_t n_in, int64_t n_out, uint32_t seed) {
  Matrix m;
  const auto x = random_floats(static_cast<size_t>(n_in * n_out), seed);
  const size_t stride = *row_bytes(type, static_cast<uint64_t>(n_in));
  m.bytes.resize(stride * static_cast<size_t>(n_out));
  m.values.resize(x.size());
  for (int64_t r = 0; r < n_out; ++r) {
    traits(type).encode(x.data() + r * n_in, nullptr, m.bytes.data() + static_cast<size_t>(r) * stride, n_in);
    traits(type).decode(m.bytes.data() + static_cast<size_t>(r) * stride, m.values.data() + r * n_in, n_in);
  }
  m.view = {type, {n_in, n_out, 1, 1}, m.bytes};
  return m;
}

// Quantizing x to int8 moves each value by at most half a step: error <= sum|w| * max|x| / 254 per output, plus
// rounding.
double matmul_bound(const Matrix& m, int64_t row, double max_x) {
  double sum = 0.0;
  for (int64_t i = 0; i < m.view.ne[0]; ++i) {
    sum += std::abs(static_cast<double>(m.values[static_cast<size_t>(row * m.view.ne[0] + i)]));
  }
  const bool quantized = traits(m.view.type).is_quantized;
  return sum * max_x * (quantized ? 1.0 / 254.0 + 1e-4 : 1e-5) + 1e-6;
}

TEST_P(Ops, GroupedMatmulOfMixedLayouts) {
  constexpr int64_t n_in = 512;
  const Matrix a = make_matrix(TensorType::f16, n_in, 37, 1);
  const Matrix b = make_matrix(TensorType::q8_0, n_in, 70, 2);
  const Matrix c = make_matrix(TensorType::f32, n_in, 5, 3);
  const auto bias = random_floats(70, 9);
  for (const int threads : {1, 3}) {
    ThreadPool pool(threads);
    const Backend backend = make_backend(pool, GetParam());
    const Weight wa = prepare_weight(a.view, GetParam());
    const Weight wb = prepare_weight(b.view, GetParam());
    const Weight wc = prepare_weight(c.view, GetParam());
    for (const int64_t tokens : {1, 2, 9}) {
      const auto x = random_floats(static_cast<size_t>(n_in * tokens), 4);
      ActivationBuffer scratch(tokens, n_in);
      const auto n = static_cast<size_t>(tokens);
      std::vector<float> ya(37 * n), yb(70 * n), yc(5 * n);
      matmul(backend, std::vector<MatmulOutput>{{&wa, ya.data()}, {&wb, yb.data(), bias.data()}, {&wc, yc.data()}},
             x.data(), tokens, scratch);
      const std::pair<const Matrix*, const std::vector<float>*> pairs[] = {{&a, &ya}, {&b, &yb}, {&c, &yc}};
      for (const auto& [m, y] : pairs) {
        for (int64_t t = 0; t < tokens; ++t) {
          for (int64_t r = 0; r < m->view.ne[1]; ++r) {
            double exact = m == &b ? static_cast<double>(bias[static_cast<size_t>(r)]) : 0.0;
            for (int64_t i = 0; i < n_in; ++i) {
              exact += static_cast<double>(m->values[static_cast<size_t>(r * n_in + i)]) *
                       static_cast<double>(x[static_cast<size_t>(t * n_in + i)]);
            }
            ASSERT_NEAR((*y)[static_cast<size_t>(t * m->view.ne[1] + r)], exact, matmul_bound(*m, r, 1.0));
          }
        }
      }
    }
  }
}

TEST_P(Ops, GetRowsDecodes) {
  ThreadPool pool(2);
  const Backend backend = make_backend(pool, GetParam());
  const Matrix table = make_matrix(TensorType::q8_0, 64, 11, 5);
  const std::vector<int32_t> ids = {10, 0, 3, 3};
  std::vector<float> out(ids.size() * 64);
  get_rows(backend, table.view, ids, out.data());
  for (size_t t = 0; t < ids.size(); ++t) {
    for (size_t i = 0; i < 64; ++i) EXPECT_EQ(out[t * 64 + i], table.values[static_cast<size_t>(ids[t]) * 64 + i]);
  }
}

TEST_P(Ops, RmsNormAddAndSilu) {
  ThreadPool pool(2);
  const Backend backend = make_backend(pool, GetParam());
  for (const int64_t n : {1, 7, 16, 33, 576}) {
    constexpr int64_t tokens = 3;
    const auto x = random_floats(static_cast<size_t>(n * tokens), 6);
    const auto w = random_floats(static_cast<size_t>(n), 7);
    std::vector<float> norm = x;
    rms_norm(backend, norm.data(), w.data(), norm.data(), tokens, n, 1e-5f);
    std::vector<float> sum = x, gate = x;
    for (float& g : gate) g *= 20.0f;
    const std::vector<float> gate_in = gate;
    add(backend, sum.data(), norm.data(), n * tokens);
    silu_mul(backend, gate.data(), x.data(), n * tokens);
    for (int64_t t = 0; t < tokens; ++t) {
      double squares = 0.0;
      for (int64_t i = 0; i < n; ++i) squares += std::pow(static_cast<double>(x[static_cast<size_t>(t * n + i)]), 2);
      const double scale = 1.0 / std::sqrt(squares / static_cast<double>(n) + 1e-5);
      for (int64_t i = 0; i < n; ++i) {
        const auto at = static_cast<size_t>(t * n + i);
        const double expected = static_cast<double>(x[at]) * scale * static_cast<double>(w[static_cast<size_t>(i)]);
        // n additions of positive squares: relative error n eps of the sum, half of it after the root.
        ASSERT_NEAR(norm[at], expected, std::abs(expected) * (static_cast<double>(n) + 4) * 1.2e-7 + 1e-9);
        ASSERT_EQ(sum[at], x[at] + norm[at]);
        const double g = gate_in[at];
        const double silu = g / (1.0 + std::exp(-g)) * static_cast<double>(x[at]);
        ASSERT_NEAR(gate[at], silu, std::abs(silu) * 2e-6 + 1e-30) << "gate " << g;
      }
    }
  }
}

TEST_P(Ops, SiluOfExtremes) {
  ThreadPool pool(1);
  const Backend backend = make_backend(pool, GetParam());
  std::vector<float> gate = {-1e30f,  -200.0f, -88.0f, -0.0f,  0.0f, 88.0f, 200.0f, 1e30f, -87.5f,
                             -104.0f, 1e-30f,  3e38f,  -3e38f, 5.0f, -5.0f, 12.0f,  1.0f};
  const std::vector<float> in = gate;
  const std::vector<float> up(gate.size(), 1.0f);
  silu_mul(backend, gate.data(), up.data(), static_cast<int64_t>(gate.size()));
  for (size_t i = 0; i < in.size(); ++i) {
    const double exact = static_cast<double>(in[i]) / (1.0 + std::exp(-static_cast<double>(in[i])));
    // Below 1e-30 only smallness is asked for: the approximations flush there.
    EXPECT_NEAR(gate[i], exact, std::abs(exact) * 2e-6 + 1e-30) << in[i];
  }
}

double rope_angle(const RopeParams& p, int64_t pair, int64_t pos) {
  double theta =
      static_cast<double>(pos) * static_cast<double>(p.freq_scale) *
      std::pow(static_cast<double>(p.freq_base), -2.0 * static_cast<double>(pair) / static_cast<double>(p.n_rot));
  if (p.factors != nullptr) theta /= static_cast<double>(p.factors[pair]);
  return theta;
}

TEST_P(Ops, RopeStylesFactorsAndScale) {
  ThreadPool pool(2);
  const Backend backend = make_backend(pool, GetParam());
  constexpr int64_t dim = 80, heads = 3, tokens = 5;
  std::vector<float> factors(32);
  for (size_t i = 0; i < factors.size(); ++i) factors[i] = 1.0f + static_cast<float>(i) * 0.25f;
  for (const RopeStyle style : {RopeStyle::norm, RopeStyle::neox}) {
    const RopeParams p = {
        .style = style, .n_rot = 64, .freq_base = 500000.0f, .freq_scale = 0.25f, .factors = factors.data()};
    const auto in = random_floats(dim * heads * tokens, 8);
    std::vector<float> x = in;
    RopeTable table(tokens, p.n_rot);
    table.fill(backend, p, tokens, 1000);
    rope(backend, p, table, x.data(), tokens, heads, dim);
    for (int64_t t = 0; t < tokens; ++t) {
      for (int64_t h = 0; h < heads; ++h) {
        const auto base = static_cast<size_t>((t * heads + h) * dim);
        for (int64_t i = 0; i < 32; ++i) {
          const auto a = base + static_cast<size_t>(style == RopeStyle::neox ? i : 2 * i);
          const auto b = base + static_cast<size_t>(style == RopeStyle::neox ? i + 32 : 2 * i + 1);
          const double angle = rope_angle(p, i, 1000 + t);
          EXPECT_NEAR(x[a], in[a] * std::cos(angle) - in[b] * std::sin(angle), 1e-6);
          EXPECT_NEAR(x[b], in[a] * std::sin(angle) + in[b] * std::cos(angle), 1e-6);
        }
        for (size_t i = 64; i < dim; ++i) EXPECT_EQ(x[base + i], in[base + i]);
      }
    }
  }
}

}  // namespace
}  // namespace thimble::ops
