// Packed panels hold every byte of their rows once, where the layout says.
#include "kernels/packed_layout.h"

#include <gtest/gtest.h>

#include <vector>

namespace thimble::kernels {
namespace {

std::vector<std::byte> random_bytes(size_t n, uint32_t seed) {
  std::vector<std::byte> bytes(n);
  for (std::byte& b : bytes) {
    seed = seed * 1664525u + 1013904223u;
    b = static_cast<std::byte>(seed >> 24);
  }
  return bytes;
}

TEST(PackedLayout, EveryRowComesBack) {
  for (const TypeTraits& type : all_types()) {
    if (!can_pack(type.type)) continue;
    const int64_t k = 3 * type.block_elems;
    const size_t row = 3 * type.block_bytes;
    for (const int lanes : {4, 8, 16}) {
      for (const int64_t n_rows : {int64_t{1}, int64_t{3}, int64_t{lanes}}) {
        const size_t stride = row + 5;
        const auto rows = random_bytes(stride * static_cast<size_t>(n_rows), 7);
        std::vector<std::byte> panel(packed_panel_bytes(type.type, lanes, k), std::byte{0xAA});
        ASSERT_EQ(panel.size(), row * static_cast<size_t>(lanes)) << type.name;
        pack_panel(type.type, lanes, rows.data(), stride, n_rows, k, panel.data());
        for (int lane = 0; lane < lanes; ++lane) {
          std::vector<std::byte> back(row, std::byte{0x55});
          unpack_row(type.type, lanes, panel.data(), lane, k, back.data());
          const auto expected = lane < n_rows
                                    ? std::vector<std::byte>(rows.begin() + static_cast<int64_t>(stride) * lane,
                                                             rows.begin() + static_cast<int64_t>(stride) * lane +
                                                                 static_cast<int64_t>(row))
                                    : std::vector<std::byte>(row, std::byte{0});
          EXPECT_EQ(back, expected) << type.name << " lanes " << lanes << " row " << lane;
        }
      }
    }
  }
}

TEST(PackedLayout, DwordsOfARegisterBelongToNeighbouringRows) {
  const auto rows = random_bytes(2 * 210, 3);  // two rows of one Q6_K block
  std::vector<std::byte> panel(packed_panel_bytes(TensorType::q6_k, 4, 256));
  pack_panel(TensorType::q6_k, 4, rows.data(), 210, 2, 256, panel.data());
  for (size_t byte = 0; byte < 4; ++byte) {
    EXPECT_EQ(panel[byte], rows[byte]);            // dword 0 of row 0
    EXPECT_EQ(panel[4 + byte], rows[210 + byte]);  // dword 0 of row 1
    EXPECT_EQ(panel[16 + byte], rows[4 + byte]);   // dword 1 of row 0
    EXPECT_EQ(panel[8 + byte], std::byte{0});      // row 2 does not exist
  }
  EXPECT_EQ(panel[size_t{52} * 16], rows[208]);            // d of row 0 ends the block
  EXPECT_EQ(panel[size_t{52} * 16 + 2], rows[210 + 208]);  // and d of row 1
}

// Scales first, then 16 columns of low bits of both halves of 64 and their high bits (docs/FORMAT.md).
TEST(PackedLayout, WidePanelsOfQ6KAreInTheOrderOfReading) {
  constexpr size_t kPieces[13] = {12, 0, 2, 8, 1, 3, 9, 4, 6, 10, 5, 7, 11};
  const auto row = random_bytes(210, 11);
  for (const size_t lanes : {8, 16}) {
    const int width = static_cast<int>(lanes);
    std::vector<std::byte> panel(packed_panel_bytes(TensorType::q6_k, width, 256));
    pack_panel(TensorType::q6_k, width, row.data(), 210, 1, 256, panel.data());
    for (size_t i = 0; i < 208; ++i) {
      const size_t from = 16 * kPieces[i / 16] + i % 16;
      EXPECT_EQ(panel[i / 4 * 4 * lanes + i % 4], row[from]) << "byte " << i << " of " << lanes << " lanes";
    }
    EXPECT_EQ(panel[208 * lanes], row[208]);
  }
}

TEST(PackedLayout, FloatsOfF32AreLeftAlone) {
  EXPECT_FALSE(can_pack(TensorType::f32));
  EXPECT_FALSE(can_pack(TensorType::i32));
  EXPECT_TRUE(can_pack(TensorType::f16));
}

}  // namespace
}  // namespace thimble::kernels
