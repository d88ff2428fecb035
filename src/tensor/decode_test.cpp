// Decoders against golden values: tests/golden/dequant holds blocks of random bytes and what ggml's dequantize_row_*
// makes of them, tests/golden/groups the same of our own types by scripts/make_group_goldens (index.json names type,
// geometry and count). Equality is bit for bit.
#include <gtest/gtest.h>

#include <bit>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "base/json.h"
#include "tensor/tensor_type.h"

namespace thimble {
namespace {

const std::string kGolden = THIMBLE_SOURCE_DIR "/tests/golden/";

std::vector<char> read_all(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file.good()) << path;
  return {std::istreambuf_iterator<char>(file), {}};
}

void expect_golden(const std::string& folder, size_t n_types) {
  const std::vector<char> text = read_all(folder + "index.json");
  const auto index = nlohmann::json::parse(text.begin(), text.end());
  ASSERT_EQ(index.size(), n_types);
  for (const auto& [name, entry] : index.items()) {
    SCOPED_TRACE(name);
    const TypeTraits* type = find_type(name);
    ASSERT_NE(type, nullptr);
    EXPECT_EQ(static_cast<uint32_t>(type->type), entry["ggml_type"].get<uint32_t>());
    EXPECT_EQ(type->block_elems, entry["block_elems"].get<uint32_t>());
    EXPECT_EQ(type->block_bytes, entry["block_bytes"].get<uint32_t>());

    const std::vector<char> blocks = read_all(folder + name + ".blocks.bin");
    const std::vector<char> floats = read_all(folder + name + ".f32.bin");
    const int64_t n = entry["blocks"].get<int64_t>() * type->block_elems;
    ASSERT_EQ(blocks.size(), *row_bytes(type->type, static_cast<uint64_t>(n)));
    std::vector<float> expected(static_cast<size_t>(n));
    ASSERT_EQ(floats.size(), expected.size() * sizeof(float));
    std::memcpy(expected.data(), floats.data(), floats.size());

    // One byte off any alignment that the allocator gives: blocks in a mapped file promise none.
    std::vector<std::byte> unaligned(blocks.size() + 1);
    std::memcpy(unaligned.data() + 1, blocks.data(), blocks.size());
    std::vector<float> decoded(expected.size());
    type->decode(unaligned.data() + 1, decoded.data(), n);
    for (size_t i = 0; i < expected.size(); ++i) {
      ASSERT_EQ(std::bit_cast<uint32_t>(decoded[i]), std::bit_cast<uint32_t>(expected[i])) << "element " << i;
    }
  }
}

TEST(Decode, EqualsGoldenValuesBitForBit) {
  expect_golden(kGolden + "dequant/", 12);
}

TEST(Decode, GroupTypesEqualGoldenValuesBitForBit) {
  expect_golden(kGolden + "groups/", 4);
}

TEST(Decode, PlainTypesRoundTripEveryBitPattern) {
  // Every half and bfloat16 value that is a number must survive decode and encode.
  for (const TensorType id : {TensorType::f16, TensorType::bf16}) {
    const TypeTraits& type = traits(id);
    const uint32_t infinity = id == TensorType::f16 ? 0x7C00u : 0x7F80u;
    for (uint32_t bits = 0; bits < 0x10000u; ++bits) {
      if ((bits & 0x7FFFu) > infinity) continue;
      const uint16_t half = static_cast<uint16_t>(bits);
      std::byte bytes[2];
      std::memcpy(bytes, &half, 2);
      float value = 0;
      type.decode(bytes, &value, 1);
      type.encode(&value, nullptr, bytes, 1);
      uint16_t again = 0;
      std::memcpy(&again, bytes, 2);
      ASSERT_EQ(again, half) << type.name;
    }
  }
}

}  // namespace
}  // namespace thimble
