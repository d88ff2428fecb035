// The loops of kernel_peak.h: twelve chains cover the latency of the instruction, so its throughput is what is left.
#include "bench/kernel_peak.h"

#include <algorithm>
#include <chrono>
#include <cstdint>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace thimble::bench {

#if defined(__x86_64__)

namespace {

constexpr int64_t kRounds = 400000;
constexpr int kChains = 12;

// The compiler must not see that all rounds do the same.
#define THIMBLE_KEEP(v) __asm__ volatile("" : "+v"(v))

__attribute__((target("avx512f,avx512vnni"), noinline)) double dots_vnni() {
  __m512i sums[kChains];
  __m512i x = _mm512_set1_epi8(3);
#pragma GCC unroll 12
  for (int c = 0; c < kChains; ++c) sums[c] = _mm512_setzero_si512();
  for (int64_t i = 0; i < kRounds; ++i) {
#pragma GCC unroll 12
    for (int c = 0; c < kChains; ++c) {
      sums[c] = _mm512_dpbusd_epi32(sums[c], x, x);
      THIMBLE_KEEP(sums[c]);
    }
  }
  return 2.0 * 64.0 * kChains * kRounds;
}

// Without dot products: bytes to sums of two halfwords, and their addition.
__attribute__((target("avx2"), noinline)) double dots_avx2() {
  __m256i sums[kChains];
  __m256i x = _mm256_set1_epi8(1);
#pragma GCC unroll 12
  for (int c = 0; c < kChains; ++c) sums[c] = _mm256_setzero_si256();
  for (int64_t i = 0; i < kRounds; ++i) {
#pragma GCC unroll 12
    for (int c = 0; c < kChains; ++c) {
      THIMBLE_KEEP(x);
      sums[c] = _mm256_add_epi16(sums[c], _mm256_maddubs_epi16(x, x));
      THIMBLE_KEEP(sums[c]);
    }
  }
  return 2.0 * 32.0 * kChains * kRounds;
}

__attribute__((target("avx512f"), noinline)) double floats_avx512() {
  __m512 sums[kChains];
  __m512 x = _mm512_set1_ps(0.5f);
#pragma GCC unroll 12
  for (int c = 0; c < kChains; ++c) sums[c] = _mm512_setzero_ps();
  for (int64_t i = 0; i < kRounds; ++i) {
#pragma GCC unroll 12
    for (int c = 0; c < kChains; ++c) {
      sums[c] = _mm512_fmadd_ps(x, x, sums[c]);
      THIMBLE_KEEP(sums[c]);
    }
  }
  return 2.0 * 16.0 * kChains * kRounds;
}

__attribute__((target("avx2,fma"), noinline)) double floats_avx2() {
  __m256 sums[kChains];
  __m256 x = _mm256_set1_ps(0.5f);
#pragma GCC unroll 12
  for (int c = 0; c < kChains; ++c) sums[c] = _mm256_setzero_ps();
  for (int64_t i = 0; i < kRounds; ++i) {
#pragma GCC unroll 12
    for (int c = 0; c < kChains; ++c) {
      sums[c] = _mm256_fmadd_ps(x, x, sums[c]);
      THIMBLE_KEEP(sums[c]);
    }
  }
  return 2.0 * 8.0 * kChains * kRounds;
}

double best_gops(double (*loop)()) {
  double best = 0.0;
  for (int i = 0; i < 5; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    const double operations = loop();
    const std::chrono::duration<double> time = std::chrono::steady_clock::now() - begin;
    best = std::max(best, operations / time.count() * 1e-9);
  }
  return best;
}

}  // namespace

double peak_gops(kernels::Isa isa, bool floats) {
  if (isa == kernels::Isa::avx512_vnni) return best_gops(floats ? floats_avx512 : dots_vnni);
  if (isa == kernels::Isa::avx2) return best_gops(floats ? floats_avx2 : dots_avx2);
  return 0.0;
}

#else

double peak_gops(kernels::Isa, bool) {
  return 0.0;
}

#endif

}  // namespace thimble::bench
