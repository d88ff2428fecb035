// Attention and the key/value cache against naive double-precision code.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "base/cpu.h"
#include "base/float16.h"
#include "kernels/guarded_memory_test.h"
#include "ops/kv_layout.h"
#include "ops/ops.h"
#include "ops/test_random.h"

namespace thimble::ops {
namespace {

using kernels::Isa;

// A cache of one layer for n_ctx positions, in memory that ends at an inaccessible page. What nobody stored looks like
// NaN halves, large bytes and huge scales.
struct Cache {
  Cache(KvType type, int64_t n_ctx, int64_t n_head_kv, int64_t dim)
      : bytes(static_cast<size_t>(kv_padded(n_ctx) * n_head_kv * kv_padded(dim)) * (type == KvType::f16 ? 2 : 1)),
        data_k(bytes),
        data_v(bytes),
        scales_k(static_cast<size_t>(kv_padded(n_ctx) * n_head_kv) * sizeof(float)),
        scales_v(scales_k.size()) {
    layer = {type, kv_padded(n_ctx), {data_k.data(), scales_k.as<float>()}, {data_v.data(), scales_v.as<float>()}};
    // The padding of head dimensions is zero, as in a new KvCache.
    if (kv_padded(dim) != dim) std::memset(data_k.data(), 0, bytes), std::memset(data_v.data(), 0, bytes);
  }
  bool operator==(const Cache& other) const {
    const auto same = [](const kernels::GuardedMemory& a, const kernels::GuardedMemory& b) {
      return std::memcmp(a.data(), b.data(), a.size()) == 0;
    };
    return same(data_k, other.data_k) && same(data_v, other.data_v) && same(scales_k, other.scales_k) &&
           same(scales_v, other.scales_v);
  }
  size_t bytes;
  kernels::GuardedMemory data_k, data_v, scales_k, scales_v;
  KvLayer layer;
};

enum class Part { key, value };

// Element d of a key or value in the cache; int8 values without their scale.
double stored(const KvLayer& layer, Part part, int64_t head, int64_t pos, int64_t d, int64_t dim) {
  const int64_t padded = kv_padded(dim);
  const KvPlane& plane = part == Part::key ? layer.k : layer.v;
  const int64_t start = head * layer.n_ctx * padded;
  if (layer.type == KvType::f16) {
    const int64_t i = part == Part::key ? f16_key_index(pos, d, padded) : f16_value_index(pos, d, padded);
    return f16_to_f32(static_cast<const uint16_t*>(plane.data)[start + i]);
  }
  const int64_t i = part == Part::key ? int8_key_index(pos, d, padded) : int8_value_index(pos, d, padded);
  return static_cast<const int8_t*>(plane.data)[start + i];
}

double scale_of(const KvLayer& layer, Part part, int64_t head, int64_t pos) {
  if (layer.type == KvType::f16) return 1.0;
  return (part == Part::key ? layer.k : layer.v).scales[head * layer.n_ctx + pos];
}

double cached(const KvLayer& layer, Part part, int64_t head, int64_t pos, int64_t d, int64_t dim) {
  return stored(layer, part, head, pos, d, dim) * scale_of(layer, part, head, pos);
}

// What int8 keys and queries are multiplied by: Hadamard's matrix in blocks of the largest power of two in n, whose
// element (i, j) is the parity of the bits that i and j share.
std::vector<double> rotated(const float* x, int64_t n) {
  const int64_t block = n & -n;
  std::vector<double> out(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = i / block * block; j < i / block * block + block; ++j) {
      const int sign = __builtin_parityll(static_cast<unsigned long long>(i % block & j % block)) != 0 ? -1 : 1;
      out[static_cast<size_t>(i)] += sign * static_cast<double>(x[j]) / std::sqrt(static_cast<double>(block));
    }
  }
  return out;
}

struct Expected {
  std::vector<double> out;
  std::vector<double> rounding;  // how far the rounding of int8 weights may move each output
};

// Softmax attention in double over what the cache holds; int8 also rounds the query, as attention() documents.
void naive_row(const AttentionShape& s, const float* query, int64_t kv, int64_t pos, const KvLayer& layer, double* out,
               double* rounding) {
  std::vector<double> q(query, query + s.head_dim);
  if (layer.type == KvType::int8) q = rotated(query, s.head_dim);
  double max_q = 0.0;
  for (const double x : q) max_q = std::max(max_q, std::abs(x));
  const int64_t begin = s.window > 0 ? std::max<int64_t>(0, pos - s.window + 1) : 0;
  std::vector<double> p;
  for (int64_t j = begin; j <= pos; ++j) {
    double dot = 0.0;
    for (int64_t i = 0; i < s.head_dim; ++i) {
      double x = q[static_cast<size_t>(i)];
      if (layer.type == KvType::int8) x = std::nearbyint(x * (127.0 / max_q)) * (max_q / 127.0);
      dot += x * cached(layer, Part::key, kv, j, i, s.head_dim);
    }
    p.push_back(dot / std::sqrt(static_cast<double>(s.head_dim)));
  }
  const double max = *std::max_element(p.begin(), p.end());
  double sum = 0.0;
  for (double& v : p) sum += v = std::exp(v - max);
  // Weights are rounded to half a step of 1/16383 of the largest of a block of 256.
  std::vector<double> half_step(static_cast<size_t>(pos / 256 + 1));
  for (size_t j = 0; j < p.size(); ++j) {
    double& step = half_step[(static_cast<size_t>(begin) + j) / 256];
    step = std::max(step, p[j] * scale_of(layer, Part::value, kv, begin + static_cast<int64_t>(j)) / 32766.0);
  }
  for (int64_t i = 0; i < s.head_dim; ++i) {
    for (size_t j = 0; j < p.size(); ++j) {
      const int64_t at = begin + static_cast<int64_t>(j);
      out[i] += p[j] / sum * cached(layer, Part::value, kv, at, i, s.head_dim);
      if (layer.type == KvType::f16) continue;
      rounding[i] +=
          half_step[static_cast<size_t>(at) / 256] / sum * std::abs(stored(layer, Part::value, kv, at, i, s.head_dim));
    }
  }
}

Expected naive_attention(const AttentionShape& s, const float* q, const KvLayer& layer) {
  const auto n = static_cast<size_t>(s.n_tokens * s.n_head * s.head_dim);
  Expected e = {std::vector<double>(n), std::vector<double>(n)};
  for (int64_t row = 0; row < s.n_tokens * s.n_head; ++row) {
    const int64_t at = row * s.head_dim;
    naive_row(s, q + at, row % s.n_head / (s.n_head / s.n_head_kv), s.pos0 + row / s.n_head, layer, e.out.data() + at,
              e.rounding.data() + at);
  }
  return e;
}

class Attention : public testing::TestWithParam<std::tuple<Isa, KvType>> {
 protected:
  Isa isa() const { return std::get<0>(GetParam()); }
  KvType type() const { return std::get<1>(GetParam()); }
};
INSTANTIATE_TEST_SUITE_P(Isas, Attention,
                         testing::Combine(testing::ValuesIn(kernels::supported_isas(host_cpu())),
                                          testing::Values(KvType::f16, KvType::int8)),
                         [](const auto& param_info) {
                           return std::string(kernels::isa_name(std::get<0>(param_info.param))) +
                                  (std::get<1>(param_info.param) == KvType::f16 ? "_f16" : "_int8");
                         });

struct Case {
  int64_t n_head, n_head_kv, dim, window, pos0, n_tokens;
};
constexpr Case kCases[] = {
    {1, 1, 16, 0, 0, 1},    {4, 4, 64, 0, 0, 9},      {8, 2, 64, 0, 5, 13},     {6, 2, 40, 0, 3, 7},
    {9, 3, 64, 4, 0, 21},   {3, 1, 100, 5, 30, 11},   {2, 1, 128, 1, 2, 3},     {16, 1, 32, 0, 70, 1},
    {4, 2, 8, 100, 0, 12},  {2, 2, 20, 3, 50, 40},    {8, 1, 64, 0, 1300, 2},   {40, 1, 18, 0, 1029, 1},
    {3, 3, 80, 0, 500, 30}, {8, 4, 64, 700, 1400, 3}, {7, 1, 48, 300, 250, 17}, {1, 1, 6, 0, 250, 20},
};

// Keys and values of all positions, and the queries of the last n_tokens.
struct Input {
  explicit Input(const Case& c)
      : n_ctx(c.pos0 + c.n_tokens),
        k(random_floats(static_cast<size_t>(n_ctx * c.n_head_kv * c.dim), 1)),
        v(random_floats(k.size(), 2)),
        q(random_floats(static_cast<size_t>(c.n_tokens * c.n_head * c.dim), 3)) {}
  int64_t n_ctx;
  std::vector<float> k, v, q;
};

AttentionShape shape_of(const Case& c) {
  return {c.n_tokens, c.n_head, c.n_head_kv, c.dim, c.pos0, c.window};
}

// Scores are dot products of dim terms below 1, rounded to float: their error is under dim * 2^-24 * 2, and softmax
// turns an error e of a score into a relative error e of a weight; the output is a mean of |v| < 1.
TEST_P(Attention, AgreesWithNaiveCode) {
  for (const Case& c : kCases) {
    const Input in(c);
    Cache cache(type(), in.n_ctx, c.n_head_kv, c.dim);
    ThreadPool pool(3);
    const Backend backend = make_backend(pool, isa());
    store_kv(backend, cache.layer, in.k.data(), in.v.data(), in.n_ctx, c.n_head_kv, c.dim, 0);
    AttentionScratch scratch(3, in.n_ctx, c.n_head, c.dim);
    std::vector<float> out(in.q.size());
    attention(backend, shape_of(c), in.q.data(), cache.layer, out.data(), scratch);
    const Expected expected = naive_attention(shape_of(c), in.q.data(), cache.layer);
    const double bound = static_cast<double>(c.dim) * 4e-7 + 4e-6;
    for (size_t i = 0; i < out.size(); ++i) {
      ASSERT_NEAR(out[i], expected.out[i], bound + expected.rounding[i]) << "dim " << c.dim << " at " << i;
    }
  }
}

// One token at a time, with any number of threads: the same bits as all tokens at once on one.
TEST_P(Attention, PrefillEqualsDecodeBitForBit) {
  for (const Case& c : kCases) {
    const Input in(c);
    Cache all(type(), in.n_ctx, c.n_head_kv, c.dim);
    std::vector<float> together(in.q.size());
    {
      ThreadPool pool(1);
      const Backend backend = make_backend(pool, isa());
      AttentionScratch scratch(1, in.n_ctx, c.n_head, c.dim);
      store_kv(backend, all.layer, in.k.data(), in.v.data(), in.n_ctx, c.n_head_kv, c.dim, 0);
      attention(backend, shape_of(c), in.q.data(), all.layer, together.data(), scratch);
    }
    for (const int threads : {1, 2, 3, 5}) {
      std::vector<float> apart(in.q.size());
      Cache step(type(), in.n_ctx, c.n_head_kv, c.dim);
      ThreadPool pool(threads);
      const Backend backend = make_backend(pool, isa());
      AttentionScratch scratch(threads, in.n_ctx, c.n_head, c.dim);
      const int64_t kv_row = c.n_head_kv * c.dim;
      store_kv(backend, step.layer, in.k.data(), in.v.data(), c.pos0, c.n_head_kv, c.dim, 0);
      for (int64_t t = 0; t < c.n_tokens; ++t) {
        AttentionShape shape = shape_of(c);
        shape.n_tokens = 1;
        shape.pos0 += t;
        store_kv(backend, step.layer, in.k.data() + shape.pos0 * kv_row, in.v.data() + shape.pos0 * kv_row, 1,
                 c.n_head_kv, c.dim, shape.pos0);
        const int64_t at = t * c.n_head * c.dim;
        attention(backend, shape, in.q.data() + at, step.layer, apart.data() + at, scratch);
      }
      ASSERT_TRUE(all == step);
      ASSERT_EQ(std::memcmp(together.data(), apart.data(), apart.size() * sizeof(float)), 0)
          << "dim " << c.dim << ", " << threads << " threads";
    }
  }
}

// Positions are written in place: after a timeline was dropped to a prefix and went on differently, nothing of the old
// one shows.
TEST_P(Attention, OverwrittenPositionsLeaveNoTrace) {
  const Case c = {6, 2, 24, 0, 37, 1};
  const Input in(c);
  ThreadPool pool(2);
  const Backend backend = make_backend(pool, isa());
  AttentionScratch scratch(2, 64, c.n_head, c.dim);
  std::vector<float> outs[2];
  for (const bool dropped : {false, true}) {
    Cache cache(type(), 64, c.n_head_kv, c.dim);
    if (dropped) {
      const auto old = random_floats(static_cast<size_t>(64 * c.n_head_kv * c.dim), 9);
      store_kv(backend, cache.layer, old.data(), old.data(), 64, c.n_head_kv, c.dim, 0);
    }
    store_kv(backend, cache.layer, in.k.data(), in.v.data(), in.n_ctx, c.n_head_kv, c.dim, 0);
    outs[dropped].resize(in.q.size());
    attention(backend, shape_of(c), in.q.data(), cache.layer, outs[dropped].data(), scratch);
  }
  EXPECT_EQ(outs[0], outs[1]);
}

// A key or value that is not finite must show, and only where it is seen.
TEST_P(Attention, NotANumberShowsInTheRowsThatSeeIt) {
  for (const bool in_key : {true, false}) {
    const Case c = {4, 2, 16, 0, 0, 40};
    Input in(c);
    (in_key ? in.k : in.v)[static_cast<size_t>((20 * c.n_head_kv + 1) * c.dim + 3)] =
        std::numeric_limits<float>::quiet_NaN();
    Cache cache(type(), in.n_ctx, c.n_head_kv, c.dim);
    ThreadPool pool(2);
    const Backend backend = make_backend(pool, isa());
    store_kv(backend, cache.layer, in.k.data(), in.v.data(), in.n_ctx, c.n_head_kv, c.dim, 0);
    AttentionScratch scratch(2, in.n_ctx, c.n_head, c.dim);
    std::vector<float> out(in.q.size());
    for (int64_t t = 0; t < c.n_tokens; ++t) {
      AttentionShape shape = shape_of(c);
      shape.n_tokens = 1;
      shape.pos0 = t;
      attention(backend, shape, in.q.data() + t * 64, cache.layer, out.data() + t * 64, scratch);
    }
    for (int64_t t = 0; t < c.n_tokens; ++t) {
      for (int64_t h = 0; h < c.n_head; ++h) {
        EXPECT_EQ(std::isnan(out[static_cast<size_t>((t * c.n_head + h) * c.dim + 3)]), t >= 20 && h >= 2) << t;
      }
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
  for (const Part part : {Part::key, Part::value}) {
    const auto& x = part == Part::key ? k : v;
    for (int64_t row = 0; row < 6; ++row) {
      std::vector<double> want(x.begin() + row * 24, x.begin() + row * 24 + 24);
      if (part == Part::key && type() == KvType::int8) want = rotated(x.data() + row * 24, 24);
      const auto first = want.begin();
      const auto smaller = [](double a, double b) { return std::abs(a) < std::abs(b); };
      const double max = std::abs(*std::max_element(first, first + 24, smaller));
      const double half_step = type() == KvType::int8 ? max / 254.0 * 1.0001 : max * 0x1p-11;
      for (int64_t i = 0; i < 24; ++i) {
        EXPECT_NEAR(cached(cache.layer, part, row % 3, 1 + row / 3, i, 24), first[i], half_step);
      }
    }
  }
}

}  // namespace
}  // namespace thimble::ops
