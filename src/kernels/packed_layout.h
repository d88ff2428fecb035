// Row-interleaved weights: the layout that packed kernels read as one sequential stream. Same bytes per weight as the
// GGUF blocks it comes from (docs/FORMAT.md, "Packed weights").
//
// A panel is `lanes` neighbouring rows (16 for AVX-512, 8 for AVX2, 4 for NEON); the last one is filled up with zero
// blocks. Panels follow each other, and inside a panel the blocks of its rows, column of blocks after column. Of one
// block, every dword is stored `lanes` times side by side, one per row, in the order of the GGUF block without its odd
// halfword (Q6_K with 8 or 16 lanes: in the order in which kernels read it, packed_layout.cpp); that halfword (d of the
// types whose size is no multiple of four) comes last, again `lanes` times:
//
//   [dword 0 of row 0 .. lanes-1] [dword 1 of row 0 .. lanes-1] ... [halfword of row 0 .. lanes-1]
//
// One register therefore loads what one dot-product step needs. F16 and BF16 are blocks of one element: a halfword.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor/tensor_type.h"

namespace thimble::kernels {

/// Part of the key of a sidecar: raise it when packed bytes change their meaning.
inline constexpr uint32_t kPackedLayoutVersion = 2;

/// How a block of a type is taken apart.
struct PackedBlock {
  size_t n_dwords;     // of the block without the odd halfword
  int64_t halfword;    // its offset in the GGUF block, or -1 when the size is a multiple of four
  size_t block_bytes;  // as in GGUF
  bool in_read_order;  // dwords are not in the order of the GGUF block
};

/// True for the types that have a packed form: all quantized ones, F16 and BF16.
bool can_pack(TensorType type) noexcept;

/// `type` must be one of can_pack().
PackedBlock packed_block(TensorType type, int lanes) noexcept;

/// Bytes of one panel of `lanes` rows of `k` elements: lanes * row bytes.
size_t packed_panel_bytes(TensorType type, int lanes, int64_t k) noexcept;

/// Packs one panel: `n_rows` (1 .. lanes) rows at `rows`, `row_stride` bytes apart, to `out` [packed_panel_bytes].
void pack_panel(TensorType type, int lanes, const std::byte* rows, size_t row_stride, int64_t n_rows, int64_t k,
                std::byte* out) noexcept;

/// The inverse for one row of a panel: `out` gets the GGUF bytes of row `lane`.
void unpack_row(TensorType type, int lanes, const std::byte* panel, int lane, int64_t k, std::byte* out) noexcept;

}  // namespace thimble::kernels
