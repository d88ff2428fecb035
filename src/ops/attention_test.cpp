// Attention and the key/value cache against naive double-precision code.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <string>
#include <vector>

#include "base/cpu.h"
#include "base/float16.h"
#include "ops/ops.h"

namespace thimble::ops {
namespace {

using kernels::Isa;

std::vector<float> random_floats(size_t n, uint32_t seed) {
  std::vector<float> values(n);
  uint32_t state = seed * 2654435761u + 12345u;
  for (float& v : values) {
    state = state * 1664525u + 1013904223u;
    v = static_cast<float>(static_cast<int32_t>(state ^ (state >> 15))) * 0x1p-31f;
  }
  return values;
}

// A cache of one layer with n_ctx rows.
struct Cache {
  Cache(KvType type, int64_t n_ctx, int64_t n_head_kv, int64_t dim)
      : data_k(static_cast<size_t>(n_ctx * n_head_kv * dim) * (type == KvType::f16 ? 2 : 1)),
        data_v(data_k.size()),
        scales_k(static_cast<size_t>(n_ctx * n_head_kv)),
        scales_v(scales_k.size()) {
    layer = {type, {data_k.data(), scales_k.data()}, {data_v.data(), scales_v.data()}};
  }
  std::vector<std::byte> data_k, data_v;
  std::vector<float> scales_k, scales_v;
  KvLayer layer;
};

double cached(const KvLayer& layer, const KvPlane& plane, int64_t row, int64_t dim, int64_t i) {
  if (layer.type == KvType::f16) return f16_to_f32(static_cast<const uint16_t*>(plane.data)[row * dim + i]);
  return static_cast<double>(static_cast<const int8_t*>(plane.data)[row * dim + i]) *
         static_cast<double>(plane.scales[row]);
}

// Softmax attention in double over what the cache holds; int8 also rounds the query, as attention() documents.
std::vector<double> naive_attention(const AttentionShape& s, const float* q, const KvLayer& layer) {
  std::vector<double> out(static_cast<size_t>(s.n_tokens * s.n_head * s.head_dim));
  for (int64_t t = 0; t < s.n_tokens; ++t) {
    for (int64_t h = 0; h < s.n_head; ++h) {
      const float* query = q + (t * s.n_head + h) * s.head_dim;
      double max_q = 0.0;
      for (int64_t i = 0; i < s.head_dim; ++i) max_q = std::max(max_q, std::abs(static_cast<double>(query[i])));
      const int64_t kv = h / (s.n_head / s.n_head_kv);
      const int64_t pos = s.pos0 + t;
      const int64_t begin = s.window > 0 ? std::max<int64_t>(0, pos - s.window + 1) : 0;
      std::vector<double> p;
      for (int64_t j = begin; j <= pos; ++j) {
        double dot = 0.0;
        for (int64_t i = 0; i < s.head_dim; ++i) {
          double x = query[i];
          if (layer.type == KvType::int8) x = std::nearbyint(x * (127.0 / max_q)) * (max_q / 127.0);
          dot += x * cached(layer, layer.k, j * s.n_head_kv + kv, s.head_dim, i);
        }
        p.push_back(dot / std::sqrt(static_cast<double>(s.head_dim)));
      }
      const double max = *std::max_element(p.begin(), p.end());
      double sum = 0.0;
      for (double& v : p) sum += v = std::exp(v - max);
      for (size_t j = 0; j < p.size(); ++j) {
        for (int64_t i = 0; i < s.head_dim; ++i) {
          out[static_cast<size_t>((t * s.n_head + h) * s.head_dim + i)] +=
              p[j] / sum * cached(layer, layer.v, (begin + static_cast<int64_t>(j)) * s.n_head_kv + kv, s.head_dim, i);
        }
      }
    }
  }
  return out;
}

std::vector<Isa> host_isas() {
  std::vector<Isa> list;
  for (const Isa isa : {Isa::scalar, Isa::avx2, Isa::avx512_vnni, Isa::neon, Isa::neon_dotprod, Isa::neon_i8mm}) {
    if (kernels::supports(host_cpu(), isa)) list.push_back(isa);
  }
  return list;
}

class Attention : public testing::TestWithParam<std::tuple<Isa, KvType>> {
 protected:
  Isa isa() const { return std::get<0>(GetParam()); }
  KvType type() const { return std::get<1>(GetParam()); }
};
INSTANTIATE_TEST_SUITE_P(Isas, Attention,
                         testing::Combine(testing::ValuesIn(host_isas()), testing::Values(KvType::f16, KvType::int8)),
                         [](const auto& param_info) {
                           return std::string(kernels::isa_name(std::get<0>(param_info.param))) +
                                  (std::get<1>(param_info.param) == KvType::f16 ? "_f16" : "_int8");
                         });

struct Case {
  int64_t n_head, n_head_kv, dim, window, pos0, n_tokens;
};
constexpr Case kCases[] = {
    {1, 1, 16, 0, 0, 1},    {4, 4, 64, 0, 0, 9},  {8, 2, 64, 0, 5, 13},  {6, 2, 40, 0, 3, 7},   {9, 3, 64, 4, 0, 21},
    {3, 1, 100, 5, 30, 11}, {2, 1, 128, 1, 2, 3}, {16, 1, 32, 0, 70, 1}, {4, 2, 8, 100, 0, 12}, {2, 2, 20, 3, 50, 40},
};

// Scores are dot products of dim terms below 1, rounded to float: their error is under dim * 2^-24 * 2, and softmax
// turns an error e of a score into a relative error e of a weight; the output is a mean of |v| < 1.
TEST_P(Attention, AgreesWithNaiveCode) {
  for (const Case& c : kCases) {
    const int64_t n_ctx = c.pos0 + c.n_tokens;
    Cache cache(type(), n_ctx, c.n_head_kv, c.dim);
    ThreadPool pool(3);
    const Backend backend = make_backend(pool, isa());
    const auto k = random_floats(static_cast<size_t>(n_ctx * c.n_head_kv * c.dim), 1);
    const auto v = random_floats(k.size(), 2);
    store_kv(backend, cache.layer, k.data(), v.data(), n_ctx, c.n_head_kv, c.dim, 0);
    const auto q = random_floats(static_cast<size_t>(c.n_tokens * c.n_head * c.dim), 3);
    const AttentionShape shape = {c.n_tokens, c.n_head, c.n_head_kv, c.dim, c.pos0, c.window};
    AttentionScratch scratch(3, n_ctx, c.dim);
    std::vector<float> out(q.size());
    attention(backend, shape, q.data(), cache.layer, out.data(), scratch);
    const std::vector<double> expected = naive_attention(shape, q.data(), cache.layer);
    const double bound = static_cast<double>(c.dim) * 4e-7 + 4e-6;
    for (size_t i = 0; i < out.size(); ++i) ASSERT_NEAR(out[i], expected[i], bound) << "dim " << c.dim << " at " << i;
  }
}

// One token at a time, with other thread counts: the same bits as all tokens at once.
TEST_P(Attention, PrefillEqualsDecodeBitForBit) {
  for (const Case& c : kCases) {
    const int64_t n_ctx = c.pos0 + c.n_tokens;
    Cache all(type(), n_ctx, c.n_head_kv, c.dim);
    Cache step(type(), n_ctx, c.n_head_kv, c.dim);
    const auto k = random_floats(static_cast<size_t>(n_ctx * c.n_head_kv * c.dim), 4);
    const auto v = random_floats(k.size(), 5);
    const auto q = random_floats(static_cast<size_t>(c.n_tokens * c.n_head * c.dim), 6);
    std::vector<float> together(q.size()), apart(q.size());
    {
      ThreadPool pool(1);
      const Backend backend = make_backend(pool, isa());
      AttentionScratch scratch(1, n_ctx, c.dim);
      store_kv(backend, all.layer, k.data(), v.data(), n_ctx, c.n_head_kv, c.dim, 0);
      attention(backend, {c.n_tokens, c.n_head, c.n_head_kv, c.dim, c.pos0, c.window}, q.data(), all.layer,
                together.data(), scratch);
    }
    ThreadPool pool(3);
    const Backend backend = make_backend(pool, isa());
    AttentionScratch scratch(3, n_ctx, c.dim);
    const int64_t kv_row = c.n_head_kv * c.dim;
    store_kv(backend, step.layer, k.data(), v.data(), c.pos0, c.n_head_kv, c.dim, 0);
    for (int64_t t = 0; t < c.n_tokens; ++t) {
      const int64_t pos = c.pos0 + t;
      store_kv(backend, step.layer, k.data() + pos * kv_row, v.data() + pos * kv_row, 1, c.n_head_kv, c.dim, pos);
      const int64_t at = t * c.n_head * c.dim;
      attention(backend, {1, c.n_head, c.n_head_kv, c.dim, pos, c.window}, q.data() + at, step.layer, apart.data() + at,
                scratch);
    }
    ASSERT_EQ(all.data_k, step.data_k);
    ASSERT_EQ(all.scales_v, step.scales_v);
    for (size_t i = 0; i < together.size(); ++i) {
      ASSERT_EQ(std::bit_cast<uint32_t>(together[i]), std::bit_cast<uint32_t>(apart[i]))
          << "dim " << c.dim << " at " << i;
    }
  }
}

TEST_P(Attention, StoreRoundsToHalfAStep) {
  ThreadPool pool(2);
  const Backend backend = make_backend(pool, isa());
  Cache cache(type(), 4, 3, 24);
  const auto k = random_floats(2 * 3 * 24, 7);
  const auto v = random_floats(2 * 3 * 24, 8);
  store_kv(backend, cache.layer, k.data(), v.data(), 2, 3, 24, 1);
  for (int64_t row = 0; row < 6; ++row) {
    double max = 0.0;
    for (int64_t i = 0; i < 24; ++i)
      max = std::max(max, std::abs(static_cast<double>(v[static_cast<size_t>(row * 24 + i)])));
    const double half_step = type() == KvType::int8 ? max / 254.0 * 1.0001 : max * 0x1p-11;
    for (int64_t i = 0; i < 24; ++i) {
      EXPECT_NEAR(cached(cache.layer, cache.layer.v, row + 3, 24, i), v[static_cast<size_t>(row * 24 + i)], half_step);
    }
  }
}

}  // namespace
}  // namespace thimble::ops
