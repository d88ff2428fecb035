// Outlier columns of a product and of an embedding, against dense double-precision code.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "base/cpu.h"
#include "base/error.h"
#include "kernels/matmul_kernel.h"
#include "ops/ops.h"
#include "ops/test_random.h"

namespace thimble::ops {
namespace {

using kernels::Isa;

struct Encoded {
  std::vector<std::byte> bytes;
  std::vector<float> values;
  TensorView view;
};

Encoded encode(TensorType type, int64_t n_in, int64_t n_out, const std::vector<float>& x) {
  Encoded m;
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

// A matrix whose every fifth channel or so, k in all, is an outlier a hundred times as large as the rest.
struct Branched {
  Branched(TensorType type, int64_t n_in_, int64_t n_out_, int64_t k) : n_in(n_in_), n_out(n_out_) {
    for (int64_t j = 0; j < k; ++j) index.push_back(static_cast<int32_t>(j * n_in / k));
    rest = encode(type, n_in, n_out, random_floats(static_cast<size_t>(n_in * n_out), 1));
    std::vector<float> columns = random_floats(static_cast<size_t>(k * n_out), 2);
    for (float& value : columns) value *= 100.0f;
    branch = encode(TensorType::f16, k, n_out, columns);
    dense = rest.values;
    for (int64_t r = 0; r < n_out; ++r) {
      for (int64_t j = 0; j < k; ++j) {
        dense[static_cast<size_t>(r * n_in + index[static_cast<size_t>(j)])] +=
            branch.values[static_cast<size_t>(r * k + j)];
      }
    }
  }

  Weight weight(Isa isa) const {
    Weight w = prepare_weight(rest.view, isa);
    w.outliers = prepare_outliers(index, branch.view, n_in, n_out, isa);
    return w;
  }

  int64_t n_in, n_out;
  std::vector<int32_t> index;
  Encoded rest, branch;
  std::vector<float> dense;
};

std::vector<float> product(const Branched& m, const Weight& w, Isa isa, int threads, const std::vector<float>& x) {
  const auto tokens = static_cast<int64_t>(x.size()) / m.n_in;
  ThreadPool pool(threads);
  const Backend backend = make_backend(pool, isa);
  ActivationBuffer scratch(tokens, m.n_in);
  std::vector<float> y(static_cast<size_t>(tokens * m.n_out));
  matmul(backend, std::vector<MatmulOutput>{{&w, y.data()}}, x.data(), tokens, scratch);
  return y;
}

// Sum of |w x| of an output, in double.
double magnitude(const Branched& m, const std::vector<float>& x, int64_t t, int64_t r, double* exact) {
  double sum = 0.0;
  *exact = 0.0;
  for (int64_t i = 0; i < m.n_in; ++i) {
    const double term = static_cast<double>(m.dense[static_cast<size_t>(r * m.n_in + i)]) *
                        static_cast<double>(x[static_cast<size_t>(t * m.n_in + i)]);
    *exact += term;
    sum += std::abs(term);
  }
  return sum;
}

TEST(OutlierColumns, ProductEqualsTheDenseMatrix) {
  // F32 for the rest: nothing but float rounding differs. k around the tiles of channels; rows and tokens around
  // theirs.
  for (const int64_t k : {1, 5, 127, 129, 256}) {
    for (const int64_t n_out : {3, 64, 67}) {
      const Branched m(TensorType::f32, 256, n_out, k);
      for (const int64_t tokens : {1, 2, 24, 51}) {
        const auto x = random_floats(static_cast<size_t>(m.n_in * tokens), 3);
        for (const Isa isa : kernels::supported_isas(host_cpu())) {
          const auto y = product(m, m.weight(isa), isa, 2, x);
          for (int64_t t = 0; t < tokens; ++t) {
            for (int64_t r = 0; r < n_out; ++r) {
              double exact = 0.0;
              const double sum = magnitude(m, x, t, r, &exact);
              ASSERT_NEAR(y[static_cast<size_t>(t * n_out + r)], exact, 1e-5 * sum)
                  << "k " << k << " row " << r << " of " << n_out << " token " << t << " of " << tokens;
            }
          }
        }
      }
    }
  }
}

// x86: bit-equal to scalar. NEON's F16 kernel sums in an order of its own, the same on every ARM processor.
TEST(OutlierColumns, EveryInstructionSetThreadCountAndBatchGivesTheSameBits) {
  const Branched m(TensorType::i4_g64, 320, 70, 33);
  const auto x = random_floats(static_cast<size_t>(m.n_in * 30), 5);
  const Isa first = host_cpu().neon ? Isa::neon : Isa::scalar;
  const auto expected = product(m, m.weight(first), first, 1, x);
  for (const Isa isa : kernels::supported_isas(host_cpu())) {
    if (host_cpu().neon && isa == Isa::scalar) continue;
    const Weight w = m.weight(isa);
    EXPECT_EQ(product(m, w, isa, 1, x), expected) << kernels::isa_name(isa);
    EXPECT_EQ(product(m, w, isa, 3, x), expected) << kernels::isa_name(isa);
    std::vector<float> one_by_one;
    for (auto from = x.begin(); from != x.end(); from += m.n_in) {
      const auto y = product(m, w, isa, 2, {from, from + m.n_in});
      one_by_one.insert(one_by_one.end(), y.begin(), y.end());
    }
    EXPECT_EQ(one_by_one, expected) << kernels::isa_name(isa);
  }
}

TEST(OutlierColumns, RowsOfAnEmbeddingHaveThem) {
  const Branched m(TensorType::q8_0, 64, 10, 7);
  ThreadPool pool(2);
  const Backend backend = make_backend(pool, kernels::supported_isas(host_cpu()).back());
  const std::vector<int32_t> ids = {9, 0, 4, 4};
  std::vector<float> out(ids.size() * 64);
  get_rows(backend, m.rest.view, ids, out.data(), m.weight(backend.isa).outliers);
  for (size_t t = 0; t < ids.size(); ++t) {
    for (size_t i = 0; i < 64; ++i) EXPECT_EQ(out[64 * t + i], m.dense[static_cast<size_t>(ids[t]) * 64 + i]);
  }
}

void expect_refused(const std::vector<int32_t>& index, const TensorView& values, ErrorCode code, const char* text) {
  try {
    prepare_outliers(index, values, 64, 10, Isa::scalar);
    FAIL() << "accepted; expected: " << text;
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), code) << e.what();
    EXPECT_NE(std::string(e.what()).find(text), std::string::npos) << e.what();
  }
}

TEST(OutlierColumns, WhatDoesNotFitIsRefused) {
  const Encoded values = encode(TensorType::f16, 2, 10, std::vector<float>(20));
  const Encoded floats = encode(TensorType::f32, 2, 10, std::vector<float>(20));
  expect_refused({}, values.view, ErrorCode::corrupt, "found no channel");
  expect_refused({3, 64}, values.view, ErrorCode::corrupt, "found channel 64 at 1, expected 0 to 63");
  expect_refused({-1, 4}, values.view, ErrorCode::corrupt, "found channel -1 at 0");
  expect_refused({4, 4}, values.view, ErrorCode::corrupt, "found channel 4 after 4 at 1, expected ascending");
  expect_refused({5, 4}, values.view, ErrorCode::corrupt, "ascending");
  expect_refused({4, 5, 6}, values.view, ErrorCode::corrupt, "found shape [2, 10, 1, 1], expected [3, 10, 1, 1]");
  expect_refused({4, 5}, floats.view, ErrorCode::unsupported, "found type f32, expected f16");
}

}  // namespace
}  // namespace thimble::ops
