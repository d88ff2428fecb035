// The vocabulary of tile kernels: AMX int8 beside the AVX-512 of simd_avx512_vnni.h. Only for files compiled with that
// instruction set's flags; everything is in an anonymous namespace.
//
// Inline assembler instead of <amxtileintrin.h>: GCC 12's intrinsics are the same assembler without saying that memory
// is read (stores to a tile's rows before _tile_loadd, or to the configuration before _tile_loadconfig, may be
// dropped), and they paste the tile's number as text, so that it cannot be a template parameter.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/simd_avx512_vnni.h"

namespace thimble::kernels {
namespace {

/// Operand of LDTILECFG (Intel SDM volume 1, §18.3): eight tiles of palette 1.
struct alignas(64) TileConfig {
  uint8_t palette;
  uint8_t start_row;
  uint8_t reserved[14];
  uint16_t row_bytes[16];
  uint8_t rows[16];
};
static_assert(sizeof(TileConfig) == 64);

/// Sets the shapes of all tiles and zeroes them.
inline void configure_tiles(const TileConfig& config) noexcept {
  asm volatile("ldtilecfg %0" : : "m"(config));
}
/// Without it every later context switch of the thread would save 8 KiB of tiles.
inline void release_tiles() noexcept {
  asm volatile("tilerelease" : : :);
}
template <int kTile>
inline void zero_tile() noexcept {
  asm volatile("tilezero %%tmm%c0" : : "i"(kTile));
}
template <int kTile>
inline void load_tile(const void* from, size_t stride) noexcept {
  asm volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(from), "r"(stride), "i"(kTile) : "memory");
}
template <int kTile>
inline void store_tile(void* to, size_t stride) noexcept {
  asm volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(to), "r"(stride), "i"(kTile) : "memory");
}

/// C[m][n] += sum of A[m][4 k + i] * B[k][4 n + i]: 16 x 16 sums of 64 products. The two letters say whether A and B
/// are (s)igned or (u)nsigned bytes.
template <int kC, int kA, int kB>
inline void dot_tiles_ss() noexcept {
  asm volatile("tdpbssd %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kC), "i"(kA), "i"(kB));
}
template <int kC, int kA, int kB>
inline void dot_tiles_su() noexcept {
  asm volatile("tdpbsud %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kC), "i"(kA), "i"(kB));
}
template <int kC, int kA, int kB>
inline void dot_tiles_us() noexcept {
  asm volatile("tdpbusd %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kC), "i"(kA), "i"(kB));
}

}  // namespace
}  // namespace thimble::kernels
