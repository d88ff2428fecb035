// The software tile unit itself, the check that decides whether AMX may be used, and how kernels leave the tiles. That
// the kernels agree with the scalar ones is tested with all others (matmul_kernel_test.cpp), under the same trap.
#include "kernels/amx_trap_test.h"

#if defined(__x86_64__)

#include <gtest/gtest.h>

#include <bit>
#include <thread>
#include <vector>

#include "base/float16.h"
#include "kernels/guarded_memory_test.h"
#include "kernels/kernel_check.h"
#include "kernels/vector_registry.h"
#include "tensor/blocks.h"

namespace thimble::kernels {
namespace {

struct Config {
  uint8_t bytes[64] = {1};
  Config& shape(size_t tile, uint8_t rows, uint8_t row_bytes) {
    bytes[16 + 2 * tile] = row_bytes;
    bytes[48 + tile] = rows;
    return *this;
  }
};

Config full_tiles() {
  Config config;
  for (size_t t = 0; t < 8; ++t) config.shape(t, 16, 64);
  return config;
}

TEST(TileUnit, RefusesWhatTheProcessorRefuses) {
  TileUnit unit;
  EXPECT_NE(unit.zero(0), "");  // nothing is configured yet
  Config config;
  config.bytes[0] = 2;
  EXPECT_NE(unit.load_config(config.bytes), "");
  config = full_tiles();
  config.bytes[5] = 1;
  EXPECT_NE(unit.load_config(config.bytes), "");
  config = full_tiles();
  config.bytes[56] = 16;  // a ninth tile
  EXPECT_NE(unit.load_config(config.bytes), "");
  EXPECT_NE(unit.load_config(full_tiles().shape(3, 17, 64).bytes), "");
  EXPECT_NE(unit.load_config(full_tiles().shape(3, 16, 68).bytes), "");
  EXPECT_NE(unit.load_config(full_tiles().shape(3, 16, 0).bytes), "");
  EXPECT_NE(unit.load_config(full_tiles().shape(3, 0, 64).bytes), "");
  EXPECT_FALSE(unit.configured());
  EXPECT_EQ(unit.load_config(full_tiles().shape(3, 0, 0).bytes), "");
  EXPECT_NE(unit.zero(3), "");
  EXPECT_EQ(unit.zero(2), "");
  EXPECT_EQ(unit.release(), "");
  EXPECT_NE(unit.zero(2), "");
}

TEST(TileUnit, RefusesProductsOfShapesThatDoNotFit) {
  TileUnit unit;
  // C 3 x 5, A 3 x 8 bytes, B 2 x 5; then tiles that differ in one extent each.
  Config config;
  config.shape(0, 3, 20).shape(1, 3, 8).shape(2, 2, 20).shape(3, 4, 8).shape(4, 3, 12).shape(5, 2, 16).shape(6, 3, 6);
  ASSERT_EQ(unit.load_config(config.bytes), "");
  EXPECT_EQ(unit.dot(TileDot::ss, 0, 1, 2), "");
  EXPECT_NE(unit.dot(TileDot::ss, 0, 3, 2), "");
  EXPECT_NE(unit.dot(TileDot::ss, 0, 4, 2), "");
  EXPECT_NE(unit.dot(TileDot::ss, 0, 1, 5), "");
  EXPECT_NE(unit.dot(TileDot::ss, 0, 6, 2), "");
  EXPECT_NE(unit.dot(TileDot::ss, 0, 1, 7), "");
  EXPECT_NE(unit.dot(TileDot::ss, 0, 1, 1), "");
}

// One row, one column, four products: bytes 200 (or -56), 127, 128 (or -128), 255 (or -1) times 255 (or -1), 2, 3, 128
// (or -128), and 1000 that was there before.
TEST(TileUnit, MultipliesBytesOfEachSignedness) {
  const uint8_t a[4] = {200, 127, 128, 255};
  const uint8_t b[4] = {255, 2, 3, 128};
  const struct {
    TileDot kind;
    int32_t expected;
  } kCases[] = {
      {TileDot::uu, 1000 + 200 * 255 + 127 * 2 + 128 * 3 + 255 * 128},
      {TileDot::us, 1000 + 200 * -1 + 127 * 2 + 128 * 3 + 255 * -128},
      {TileDot::su, 1000 + -56 * 255 + 127 * 2 + -128 * 3 + -1 * 128},
      {TileDot::ss, 1000 + -56 * -1 + 127 * 2 + -128 * 3 + -1 * -128},
  };
  for (const auto& each : kCases) {
    TileUnit unit;
    Config config;
    ASSERT_EQ(unit.load_config(config.shape(0, 1, 4).shape(1, 1, 4).shape(2, 1, 4).bytes), "");
    int32_t c = 1000;
    auto* c_bytes = reinterpret_cast<uint8_t*>(&c);
    ASSERT_EQ(unit.load(0, c_bytes, 4), "");
    ASSERT_EQ(unit.load(1, a, 4), "");
    ASSERT_EQ(unit.load(2, b, 4), "");
    ASSERT_EQ(unit.dot(each.kind, 0, 1, 2), "");
    ASSERT_EQ(unit.store(0, c_bytes, 4), "");
    EXPECT_EQ(c, each.expected);
  }
}

// A tile is two rows of eight bytes, a stride apart; what the shape leaves out is neither read nor written.
TEST(TileUnit, LoadsAndStoresRowsAStrideApart) {
  TileUnit unit;
  Config config;
  ASSERT_EQ(unit.load_config(config.shape(4, 2, 8).bytes), "");
  uint8_t from[24], to[24];
  for (size_t i = 0; i < 24; ++i) from[i] = static_cast<uint8_t>(i + 1);
  std::memset(to, 0, sizeof to);
  ASSERT_EQ(unit.load(4, from + 16, -16), "");
  ASSERT_EQ(unit.store(4, to, 12), "");
  for (size_t i = 0; i < 24; ++i) {
    const int expected = i < 8 ? from[16 + i] : (i >= 12 && i < 20 ? from[i - 12] : 0);
    EXPECT_EQ(to[i], expected) << i;
  }
}

// Bytes as GNU as 2.40 writes them, with registers above 7 and displacements.
TEST(TileDecoder, TakesApartWhatTheAssemblerWrites) {
  using Kind = TileInstruction::Kind;
  const uint8_t load[] = {0xc4, 0x82, 0x7b, 0x4b, 0xac, 0xac, 0x00, 0x01, 0x00, 0x00};
  TileInstruction in = decode_tile_instruction(load);  // tileloadd 0x100(%r12,%r13,4), %tmm5
  EXPECT_EQ(in.kind, Kind::load);
  EXPECT_EQ(in.reg, 5);
  EXPECT_EQ(in.base, 12);
  EXPECT_EQ(in.index, 13);
  EXPECT_EQ(in.scale, 2);
  EXPECT_EQ(in.displacement, 256);
  EXPECT_EQ(in.size, sizeof load);
  const uint8_t store[] = {0xc4, 0xe2, 0x7a, 0x4b, 0x5c, 0x15, 0xf0};
  in = decode_tile_instruction(store);  // tilestored %tmm3, -0x10(%rbp,%rdx,1)
  EXPECT_EQ(in.kind, Kind::store);
  EXPECT_EQ(in.reg, 3);
  EXPECT_EQ(in.base, 5);
  EXPECT_EQ(in.index, 2);
  EXPECT_EQ(in.displacement, -16);
  EXPECT_EQ(in.size, sizeof store);
  const uint8_t dot[] = {0xc4, 0xe2, 0x42, 0x5e, 0xce};
  in = decode_tile_instruction(dot);  // tdpbsud %tmm7, %tmm6, %tmm1
  EXPECT_EQ(in.kind, Kind::dot);
  EXPECT_EQ(in.dot, TileDot::su);
  EXPECT_EQ(in.reg, 1);
  EXPECT_EQ(in.rm, 6);
  EXPECT_EQ(in.third, 7);
  const uint8_t config[] = {0xc4, 0xe2, 0x78, 0x49, 0x05, 0x10, 0x00, 0x00, 0x00};
  in = decode_tile_instruction(config);  // ldtilecfg 0x10(%rip)
  EXPECT_EQ(in.kind, Kind::load_config);
  EXPECT_EQ(in.base, TileInstruction::kRip);
  EXPECT_EQ(in.index, -1);
  EXPECT_EQ(in.displacement, 16);
  EXPECT_EQ(in.size, sizeof config);
  const uint8_t ud2[] = {0x0f, 0x0b, 0xc4, 0xe2, 0x42};
  EXPECT_EQ(decode_tile_instruction(ud2).kind, Kind::unknown);
}

std::vector<MatmulKernel> amx_kernels() {
  std::vector<MatmulKernel> list;
  for (const MatmulKernel& kernel : matmul_kernels()) {
    if (kernel.isa == Isa::avx512_amx) list.push_back(kernel);
  }
  return list;
}

class AmxCheck : public testing::Test {
 protected:
  void SetUp() override {
    if (!AmxTrap::can_stand_in(Isa::avx512_amx)) GTEST_SKIP() << "needs AVX-512 VNNI and no AMX";
  }
};

TEST_F(AmxCheck, AcceptsKernelsThatAgree) {
  const AmxTrap trap;
  const std::vector<MatmulKernel> kernels = amx_kernels();
  EXPECT_EQ(kernels.size(), 6u);
  EXPECT_EQ(find_wrong_kernel(kernels), "");
  EXPECT_GT(AmxTrap::unit().n_dots(), 0);
}

TEST_F(AmxCheck, NamesTheKernelOfADefectProcessor) {
  const AmxTrap trap;
  AmxTrap::broken() = true;
  for (const MatmulKernel& kernel : amx_kernels()) EXPECT_EQ(find_wrong_kernel({&kernel, 1}), kernel.name);
  AmxTrap::broken() = false;
}

// One bit of one result, of either layout.
TEST_F(AmxCheck, NoticesOneWrongBit) {
  const AmxTrap trap;
  MatmulKernel kernel = *select(TensorType::q4_k, Isa::avx512_vnni);
  EXPECT_EQ(find_wrong_kernel({&kernel, 1}), "");
  const auto spoil_last = [](const MatmulArgs& a) {
    const auto last = static_cast<size_t>(a.n_cols - 1) * a.out_stride + static_cast<size_t>(a.n_rows - 1);
    reinterpret_cast<uint32_t*>(a.out)[last] ^= 1;
  };
  static const auto spoil = spoil_last;
  kernel.function = [](const MatmulArgs& a) noexcept {
    select(TensorType::q4_k, Isa::avx512_vnni)->function(a);
    if (!a.packed) spoil(a);
  };
  EXPECT_EQ(find_wrong_kernel({&kernel, 1}), kernel.name);
  kernel.function = [](const MatmulArgs& a) noexcept {
    select(TensorType::q4_k, Isa::avx512_vnni)->function(a);
    if (a.packed) spoil(a);
  };
  EXPECT_EQ(find_wrong_kernel({&kernel, 1}), kernel.name);
}

TEST_F(AmxCheck, KernelsReleaseTheTiles) {
  const AmxTrap trap;
  EXPECT_EQ(find_wrong_kernel(amx_kernels()), "");
  EXPECT_FALSE(AmxTrap::unit().configured());
}

TEST_F(AmxCheck, ThreadsHaveTilesOfTheirOwn) {
  const AmxTrap trap;
  const std::vector<MatmulKernel> kernels = amx_kernels();
  std::vector<std::string_view> wrong(4, "not run");
  std::vector<std::thread> threads;
  for (std::string_view& result : wrong) threads.emplace_back([&] { result = find_wrong_kernel(kernels); });
  for (std::thread& thread : threads) thread.join();
  for (const std::string_view result : wrong) EXPECT_EQ(result, "");
}

// Around the 512 columns that share an expanded panel, where the remainder is no tile, one tile, or more.
TEST_F(AmxCheck, ColumnsBeyondOneExpansionAgree) {
  const AmxTrap trap;
  constexpr int64_t kMaxColumns = 544;
  constexpr int64_t kRows = 17;
  Random random(5);
  const size_t row_bytes = sizeof(BlockQ4K);
  std::vector<BlockQ4K> weights(kRows);
  for (BlockQ4K& block : weights) {
    for (uint8_t& byte : block.qs) byte = static_cast<uint8_t>(random.next());
    for (uint8_t& byte : block.scales) byte = static_cast<uint8_t>(random.next());
    block.d = f32_to_f16(random.uniform());
    block.dmin = f32_to_f16(random.uniform());
  }
  std::vector<float> row(256);
  std::vector<ActivationGroup> x(kMaxColumns);
  for (ActivationGroup& group : x) {
    for (float& value : row) value = random.uniform();
    kVectorScalar.quantize_q8_super(row.data(), &group, 256);
  }
  const auto multiply = [&](Isa isa, int64_t n_cols) {
    std::vector<float> out(static_cast<size_t>(n_cols * kRows));
    select(TensorType::q4_k, isa)
        ->function({.weights = reinterpret_cast<const std::byte*>(weights.data()),
                    .weight_stride = row_bytes,
                    .x = reinterpret_cast<const std::byte*>(x.data()),
                    .x_stride = sizeof(ActivationGroup),
                    .out = out.data(),
                    .out_stride = kRows,
                    .n_rows = kRows,
                    .n_cols = n_cols,
                    .k = 256});
    return out;
  };
  const std::vector<float> expected = multiply(Isa::scalar, kMaxColumns);
  for (const int64_t n_cols : {511, 512, 513, 527, 528, 529, 544}) {
    const std::vector<float> actual = multiply(Isa::avx512_amx, n_cols);
    for (size_t i = 0; i < actual.size(); ++i) {
      ASSERT_EQ(std::bit_cast<uint32_t>(actual[i]), std::bit_cast<uint32_t>(expected[i]))
          << n_cols << " columns, " << i;
    }
  }
}

// Where the hardware is there, it must pass: otherwise every test of these kernels would be skipped in silence.
TEST(Amx, KernelsAgreeOnThisProcessor) {
  EXPECT_EQ(wrong_amx_kernel(), "");
}

TEST(Amx, IsNotOfferedWithoutTheHardware) {
  if (host_cpu().amx_int8) GTEST_SKIP() << "this processor has AMX";
  EXPECT_FALSE(supports(host_cpu(), Isa::avx512_amx));
  EXPECT_NE(best_isa(host_cpu()), Isa::avx512_amx);
}

}  // namespace
}  // namespace thimble::kernels

#endif
