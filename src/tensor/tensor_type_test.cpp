// The type table: ids and names as in ggml.h, geometry, look-up and overflow-safe row sizes.
#include "tensor/tensor_type.h"

#include <gtest/gtest.h>

#include <cctype>
#include <limits>
#include <set>
#include <string>

namespace thimble {
namespace {

TEST(TensorTypeTable, IsSortedAndConsistent) {
  std::set<std::string_view> names;
  int64_t previous = -1;
  for (const TypeTraits& row : all_types()) {
    EXPECT_LT(previous, static_cast<int64_t>(row.type));
    previous = static_cast<int64_t>(row.type);
    EXPECT_TRUE(names.insert(row.name).second) << row.name;
    EXPECT_EQ(row.decode == nullptr, row.encode == nullptr) << row.name;
    EXPECT_EQ(row.is_quantized, row.block_elems > 1) << row.name;
    EXPECT_EQ(&traits(row.type), &row);
  }
  EXPECT_EQ(names.size(), 24u);
}

TEST(TensorTypeTable, FindsByIdAndName) {
  for (const TypeTraits& row : all_types()) {
    EXPECT_EQ(find_type(static_cast<uint32_t>(row.type)), &row);
    EXPECT_EQ(find_type(row.name), &row);
    std::string upper(row.name);
    for (char& c : upper) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    EXPECT_EQ(find_type(upper), &row);
  }
  EXPECT_EQ(find_type("Iq4_xS")->type, TensorType::iq4_xs);
  for (const char* name : {"", "q4", "q4_kk", "q4_k ", " q4_k", "Q8_1"}) EXPECT_EQ(find_type(name), nullptr) << name;
  for (const uint32_t id : {4u, 5u, 9u, 15u, 29u, 31u, 999u, 1004u, 0xFFFFFFFFu})
    EXPECT_EQ(find_type(id), nullptr) << id;
}

TEST(TensorTypeTable, BitsPerWeight) {
  EXPECT_DOUBLE_EQ(traits(TensorType::q4_k).bits_per_weight(), 4.5);
  EXPECT_DOUBLE_EQ(traits(TensorType::iq4_xs).bits_per_weight(), 4.25);
  EXPECT_DOUBLE_EQ(traits(TensorType::q6_k).bits_per_weight(), 6.5625);
  EXPECT_DOUBLE_EQ(traits(TensorType::f16).bits_per_weight(), 16.0);
  EXPECT_DOUBLE_EQ(traits(TensorType::i4_g64).bits_per_weight(), 4.5);
  EXPECT_DOUBLE_EQ(traits(TensorType::i4_g128).bits_per_weight(), 4.25);
  EXPECT_DOUBLE_EQ(traits(TensorType::i5_g64).bits_per_weight(), 5.5);
  EXPECT_DOUBLE_EQ(traits(TensorType::i5_g128).bits_per_weight(), 5.25);
}

TEST(TensorTypeTable, RowBytes) {
  EXPECT_EQ(row_bytes(TensorType::q4_k, 512), 288u);
  EXPECT_EQ(row_bytes(TensorType::q8_0, 0), 0u);
  EXPECT_EQ(row_bytes(TensorType::f32, 3), 12u);
  EXPECT_EQ(row_bytes(TensorType::q4_k, 255), std::nullopt);
  EXPECT_EQ(row_bytes(TensorType::q4_0, 33), std::nullopt);
  EXPECT_EQ(row_bytes(static_cast<TensorType>(999), 32), std::nullopt);
}

TEST(TensorTypeTable, RowBytesRefusesToOverflow) {
  constexpr uint64_t kMax = std::numeric_limits<uint64_t>::max();
  EXPECT_EQ(row_bytes(TensorType::f32, kMax), std::nullopt);
  EXPECT_EQ(row_bytes(TensorType::f32, kMax / 4), kMax / 4 * 4);
  EXPECT_EQ(row_bytes(TensorType::f32, kMax / 4 + 1), std::nullopt);
  // A block is 34 bytes for 32 elements: the largest multiple of 32 needs more than 64 bits.
  EXPECT_EQ(row_bytes(TensorType::q8_0, kMax - 31), std::nullopt);
  EXPECT_EQ(row_bytes(TensorType::q4_k, kMax - 255), (kMax - 255) / 256 * 144);
}

}  // namespace
}  // namespace thimble
