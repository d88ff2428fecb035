// Every kernel row that this processor can run, against the scalar kernel of its type; and the scalar kernels against
// the type table's decoders in double precision.
#include "kernels/matmul_kernel.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/float16.h"
#include "kernels/amx_trap_test.h"
#include "kernels/guarded_memory_test.h"
#include "kernels/packed_layout.h"
#include "kernels/vector_registry.h"
#include "tensor/blocks.h"

namespace thimble::kernels {
namespace {

enum class Data { random, max_magnitude, zeros, alternating, denormal_scale };

// Byte offsets of the f16 fields of a block.
std::vector<size_t> half_fields(TensorType type) {
  switch (type) {
    case TensorType::q4_1:
    case TensorType::q5_1:
    case TensorType::i4_g64:
    case TensorType::i4_g128:
    case TensorType::i5_g64:
    case TensorType::i5_g128:
    case TensorType::q4_k:
    case TensorType::q5_k:
      return {0, 2};
    case TensorType::q2_k:
      return {80, 82};
    case TensorType::q3_k:
      return {108};
    case TensorType::q6_k:
      return {208};
    default:
      return {0};
  }
}

uint16_t half_value(Data data, Random& random, size_t index) {
  switch (data) {
    case Data::max_magnitude:
      return f32_to_f16(60000.0f);
    case Data::zeros:
      return 0;
    case Data::alternating:
      return f32_to_f16(index % 2 == 0 ? 0.25f : -0.25f);
    case Data::denormal_scale:
      return static_cast<uint16_t>(1 + random.next() % 7);
    case Data::random:
      break;
  }
  return f32_to_f16(random.uniform());
}

float plain_value(Data data, Random& random, size_t index) {
  switch (data) {
    case Data::max_magnitude:
      return index % 3 == 0 ? -60000.0f : 60000.0f;
    case Data::zeros:
      return 0.0f;
    case Data::alternating:
      return index % 2 == 0 ? 1.0f : -1.0f;
    case Data::denormal_scale:
      return random.uniform() * 0x1p-20f;
    case Data::random:
      break;
  }
  return random.uniform();
}

void fill_plain(TensorType type, Data data, Random& random, GuardedMemory& out) {
  const size_t element = traits(type).block_bytes;
  for (size_t i = 0; i < out.size() / element; ++i) {
    const float value = plain_value(data, random, i);
    const uint16_t half = type == TensorType::f16 ? f32_to_f16(value) : f32_to_bf16(value);
    if (type == TensorType::f32) {
      std::memcpy(out.data() + i * element, &value, element);
    } else {
      std::memcpy(out.data() + i * element, &half, element);
    }
  }
}

// Any bits are a valid quant, so blocks are random or extreme bytes under chosen scales.
void fill_weights(TensorType type, Data data, Random& random, GuardedMemory& out) {
  if (!traits(type).is_quantized) return fill_plain(type, data, random, out);
  const size_t block_bytes = traits(type).block_bytes;
  for (size_t b = 0; b < out.size() / block_bytes; ++b) {
    std::byte* block = out.data() + b * block_bytes;
    for (size_t i = 0; i < block_bytes; ++i) {
      uint32_t value = random.next() & 255;
      if (data == Data::max_magnitude) value = b % 3 == 0 ? 0xFF : (b % 3 == 1 ? 0x80 : 0x7F);
      if (data == Data::zeros) value = 0;
      if (data == Data::alternating) value = i % 2 == 0 ? 0x7F : 0x81;
      block[i] = static_cast<std::byte>(value);
    }
    for (const size_t offset : half_fields(type)) {
      const uint16_t half = half_value(data, random, b);
      std::memcpy(block + offset, &half, sizeof half);
    }
  }
}

void fill_activations(ActivationLayout layout, Data data, Random& random, int64_t n_cols, int64_t k,
                      GuardedMemory& out) {
  std::vector<float> row(static_cast<size_t>(k));
  for (int64_t c = 0; c < n_cols; ++c) {
    for (size_t i = 0; i < row.size(); ++i) row[i] = plain_value(data, random, i + static_cast<size_t>(c));
    std::byte* to = out.data() + static_cast<size_t>(c) * activation_row_bytes(layout, k);
    if (layout == ActivationLayout::f32) {
      std::memcpy(to, row.data(), row.size() * sizeof(float));
    } else if (layout == ActivationLayout::q8_block) {
      kVectorScalar.quantize_q8_block(row.data(), reinterpret_cast<ActivationGroup*>(to), k);
    } else {
      kVectorScalar.quantize_q8_super(row.data(), reinterpret_cast<ActivationGroup*>(to), k);
    }
  }
}

// Weights and activations of one product, in guarded memory.
struct Problem {
  Problem(const MatmulKernel& kernel, Data data, int64_t rows, int64_t cols, int64_t k_)
      : type(kernel.type),
        layout(kernel.layout),
        n_rows(rows),
        n_cols(cols),
        k(k_),
        weights(static_cast<size_t>(rows) * *row_bytes(kernel.type, static_cast<uint64_t>(k_))),
        packed(packed_bytes(kernel, rows, k_)),
        x(static_cast<size_t>(cols) * activation_row_bytes(kernel.layout, k_)) {
    Random random(static_cast<uint64_t>(rows * 1000003 + cols * 1009 + k));
    fill_weights(type, data, random, weights);
    fill_activations(layout, data, random, n_cols, k, x);
    if (kernel.packed_lanes > 0) pack(kernel.packed_lanes);
  }

  static size_t packed_bytes(const MatmulKernel& kernel, int64_t rows, int64_t k) {
    if (kernel.packed_lanes == 0) return 0;
    const int64_t panels = (rows + kernel.packed_lanes - 1) / kernel.packed_lanes;
    return static_cast<size_t>(panels) * packed_panel_bytes(kernel.type, kernel.packed_lanes, k);
  }

  void pack(int lanes) {
    packed_stride = packed_panel_bytes(type, lanes, k);
    const size_t row = *row_bytes(type, static_cast<uint64_t>(k));
    for (int64_t r = 0; r < n_rows; r += lanes) {
      pack_panel(type, lanes, weights.data() + static_cast<size_t>(r) * row, row, std::min<int64_t>(lanes, n_rows - r),
                 k, packed.data() + static_cast<size_t>(r / lanes) * packed_stride);
    }
  }

  // out_stride is wider than n_rows: the gap must stay untouched.
  std::vector<float> run(MatmulFn function, int64_t rows, int64_t cols, bool from_packed = false,
                         bool prefetch = false) {
    const size_t stride = static_cast<size_t>(rows) + 3;
    GuardedMemory out((stride * static_cast<size_t>(cols) - 3) * sizeof(float));
    function({.weights = from_packed ? packed.data() : weights.data(),
              .weight_stride = from_packed ? packed_stride : *row_bytes(type, static_cast<uint64_t>(k)),
              .x = x.data(),
              .x_stride = activation_row_bytes(layout, k),
              .out = out.as<float>(),
              .out_stride = stride,
              .n_rows = rows,
              .n_cols = cols,
              .k = k,
              .packed = from_packed,
              .prefetch = prefetch});
    std::vector<float> result;
    for (size_t c = 0; c < static_cast<size_t>(cols); ++c) {
      for (size_t r = 0; r < static_cast<size_t>(rows); ++r) result.push_back(out.as<float>()[c * stride + r]);
      for (size_t gap = 0; c + 1 < static_cast<size_t>(cols) && gap < 3; ++gap) {
        EXPECT_EQ(std::bit_cast<uint32_t>(out.as<float>()[c * stride + static_cast<size_t>(rows) + gap]), 0xA5A5A5A5u);
      }
    }
    return result;
  }

  double activation(int64_t c, int64_t i) {
    const std::byte* row = x.data() + static_cast<size_t>(c) * activation_row_bytes(layout, k);
    if (layout == ActivationLayout::f32) return reinterpret_cast<const float*>(row)[i];
    const ActivationGroup& group = reinterpret_cast<const ActivationGroup*>(row)[i / 256];
    const int64_t scale = layout == ActivationLayout::q8_block ? i % 256 / 32 : 0;
    return static_cast<double>(group.q[i % 256]) * static_cast<double>(group.d[scale]);
  }

  TensorType type;
  ActivationLayout layout;
  int64_t n_rows, n_cols, k;
  size_t packed_stride = 0;
  GuardedMemory weights, packed, x;
};

const MatmulKernel& scalar_kernel(TensorType type) {
  return *select(type, Isa::scalar);
}

class MatmulKernels : public testing::TestWithParam<MatmulKernel> {
 protected:
  void SetUp() override {
    if (supports(host_cpu(), GetParam().isa)) return;
    if (!AmxTrap::can_stand_in(GetParam().isa)) GTEST_SKIP() << "this processor has no " << isa_name(GetParam().isa);
    amx_ = std::make_unique<AmxTrap>();
  }

  std::unique_ptr<AmxTrap> amx_;
};

void expect_agrees(Problem& problem, const MatmulKernel& kernel, int64_t rows, int64_t cols, bool packed,
                   bool prefetch = false) {
  const std::vector<float> expected = problem.run(scalar_kernel(kernel.type).function, rows, cols);
  const std::vector<float> actual = problem.run(kernel.function, rows, cols, packed, prefetch);
  for (int64_t c = 0; c < cols; ++c) {
    for (int64_t r = 0; r < rows; ++r) {
      const float e = expected[static_cast<size_t>(c * rows + r)];
      const float a = actual[static_cast<size_t>(c * rows + r)];
      ASSERT_EQ(std::bit_cast<uint32_t>(e), std::bit_cast<uint32_t>(a))
          << kernel.name << (packed ? " packed" : "") << (prefetch ? ", prefetching" : "") << " row " << r << " of "
          << rows << " col " << c << " of " << cols << " k " << problem.k << ": expected " << e << ", got " << a;
    }
  }
}

// From the GGUF layout and, where the kernel reads it, from the packed one.
void expect_agrees(Problem& problem, const MatmulKernel& kernel, int64_t rows, int64_t cols) {
  expect_agrees(problem, kernel, rows, cols, false);
  if (kernel.packed_lanes == 0) return;
  for (const bool prefetch : {false, true}) {
    if (!testing::Test::HasFatalFailure()) expect_agrees(problem, kernel, rows, cols, true, prefetch);
  }
}

std::vector<int64_t> sizes_around(int tile) {
  const std::set<int64_t> sizes = {1, std::max(tile - 1, 1), tile, tile + 1, 2 * tile + 3};
  return {sizes.begin(), sizes.end()};
}

std::vector<int64_t> k_sizes(TensorType type) {
  const int64_t block = std::max<int64_t>(traits(type).block_elems, 1);
  // Floats: around a chunk, and in the second part of k that goes by all rows.
  if (block == 1) return {1, 2, 11, 131, 650, 4096};
  return {block, 2 * block, 11 * block, 4096};
}

TEST_P(MatmulKernels, AgreeWithScalarAtEverySizeAroundTheTile) {
  const MatmulKernel& kernel = GetParam();
  for (const int64_t k : k_sizes(kernel.type)) {
    Problem problem(kernel, Data::random, 2 * kernel.row_tile + 3, 2 * kernel.column_tile + 3, k);
    for (const int64_t cols : sizes_around(kernel.column_tile)) {
      for (const int64_t rows : sizes_around(kernel.row_tile)) {
        // The shape decides the memory: the last row and column must end at the guard page.
        Problem exact(kernel, Data::random, rows, cols, k);
        expect_agrees(exact, kernel, rows, cols);
        if (HasFatalFailure()) return;
      }
    }
  }
}

TEST_P(MatmulKernels, AgreeWithScalarForEveryNumberOfColumns) {
  const MatmulKernel& kernel = GetParam();
  const int64_t k = 9 * traits(kernel.type).block_elems;
  for (int64_t cols = 1; cols <= 17; ++cols) {
    Problem problem(kernel, Data::random, 3 * std::max(kernel.packed_lanes, kernel.row_tile) - 1, cols, k);
    expect_agrees(problem, kernel, problem.n_rows, cols);
    if (HasFatalFailure()) return;
  }
}

TEST_P(MatmulKernels, AgreeWithScalarOnExtremeData) {
  const MatmulKernel& kernel = GetParam();
  for (const Data data : {Data::max_magnitude, Data::zeros, Data::alternating, Data::denormal_scale}) {
    for (const int64_t k : k_sizes(kernel.type)) {
      for (const int64_t cols : {1, kernel.column_tile + 1}) {
        Problem problem(kernel, data, kernel.row_tile + 1, cols, k);
        expect_agrees(problem, kernel, problem.n_rows, problem.n_cols);
        if (HasFatalFailure()) return;
      }
    }
  }
}

// Prefill and decode must agree: the value of an output does not depend on how many columns or rows are asked for.
TEST_P(MatmulKernels, ResultsDoNotDependOnBatchSize) {
  const MatmulKernel& kernel = GetParam();
  const int64_t rows = kernel.row_tile + 1;
  const int64_t k = std::max<int64_t>(traits(kernel.type).block_elems, 1) * 3;
  Problem problem(kernel, Data::random, rows, 140, k);
  const std::vector<float> all = problem.run(kernel.function, rows, problem.n_cols);
  for (const int64_t cols : {1, 2, 3, 5, 9, 130}) {
    for (const bool packed : {false, true}) {
      if (packed && kernel.packed_lanes == 0) continue;
      const std::vector<float> some = problem.run(kernel.function, rows, cols, packed);
      for (size_t i = 0; i < some.size(); ++i) {
        ASSERT_EQ(std::bit_cast<uint32_t>(some[i]), std::bit_cast<uint32_t>(all[i]))
            << kernel.name << (packed ? " packed" : "") << " cols " << cols;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Registry, MatmulKernels, testing::ValuesIn(matmul_kernels().begin(), matmul_kernels().end()),
                         [](const auto& param_info) { return std::string(param_info.param.name); });

// The scalar kernels against decode() in double. Each block contributes a handful of roundings of its partial sums;
// with mins those partials can exceed the result, by at most the largest weight of the row per element on random data.
TEST(MatmulScalar, AgreesWithDecodedWeights) {
  for (const MatmulKernel& kernel : matmul_kernels()) {
    if (kernel.isa != Isa::scalar) continue;
    const int64_t block = traits(kernel.type).block_elems;
    const int64_t k = std::max<int64_t>(block * 5, 32);
    Problem problem(kernel, Data::random, 4, 3, k);
    const std::vector<float> actual = problem.run(kernel.function, 4, 3);
    for (int64_t r = 0; r < 4; ++r) {
      std::vector<float> w(static_cast<size_t>(k));
      const uint64_t stride = *row_bytes(kernel.type, static_cast<uint64_t>(k));
      traits(kernel.type).decode(problem.weights.data() + static_cast<uint64_t>(r) * stride, w.data(), k);
      double largest = 0.0;
      for (const float value : w) largest = std::max(largest, std::abs(static_cast<double>(value)));
      for (int64_t c = 0; c < 3; ++c) {
        double exact = 0.0;
        double scale = 0.0;
        for (int64_t i = 0; i < k; ++i) {
          exact += static_cast<double>(w[static_cast<size_t>(i)]) * problem.activation(c, i);
          scale +=
              (std::abs(static_cast<double>(w[static_cast<size_t>(i)])) + largest) * std::abs(problem.activation(c, i));
        }
        const double terms = static_cast<double>(block == 1 ? k : k / block) + 8.0;
        EXPECT_NEAR(actual[static_cast<size_t>(c * 4 + r)], exact,
                    terms * std::numeric_limits<float>::epsilon() * scale)
            << kernel.name;
      }
    }
  }
}

TEST(MatmulSelect, EveryDecodableTypeHasAScalarKernel) {
  for (const TypeTraits& type : all_types()) {
    const MatmulKernel* kernel = select(type.type, Isa::scalar);
    EXPECT_EQ(kernel != nullptr, type.decode != nullptr) << type.name;
    if (kernel != nullptr) {
      EXPECT_EQ(kernel->isa, Isa::scalar);
    }
  }
}

TEST(MatmulSelect, NamesFollowTypeAndInstructionSet) {
  std::set<std::string_view> names;
  for (const MatmulKernel& kernel : matmul_kernels()) {
    std::string expected = "matmul_";
    expected += traits(kernel.type).name;
    expected += "_";
    expected += isa_name(kernel.isa);
    EXPECT_EQ(kernel.name, expected);
    EXPECT_TRUE(names.insert(kernel.name).second) << "listed twice: " << kernel.name;
  }
}

TEST(MatmulSelect, NeverChoosesAnInstructionSetOutsideTheFallbacks) {
  for (const Isa isa : all_isas()) {
    const std::vector<Isa> allowed = fallbacks(isa);
    for (const TypeTraits& type : all_types()) {
      const MatmulKernel* kernel = select(type.type, isa);
      if (kernel == nullptr) continue;
      EXPECT_NE(std::find(allowed.begin(), allowed.end(), kernel->isa), allowed.end()) << kernel->name;
      EXPECT_EQ(kernel->layout, scalar_kernel(type.type).layout) << kernel->name;
    }
  }
}

// What each ARM machine is given: its own kernels for every quantized type, and for plain types those of NEON, which
// gain nothing from integer products. On other machines these kernels do not exist and selection ends at scalar.
TEST(MatmulSelect, ArmProcessorsGetTheKernelsOfTheirFeatures) {
  CpuFeatures cpu;
  cpu.neon = true;
  const auto chosen = [&](TensorType type) { return select(type, best_isa(cpu))->isa; };
#if defined(__aarch64__)
  const Isa plain = Isa::neon;
  const Isa expected[] = {Isa::neon, Isa::neon_dotprod, Isa::neon_i8mm};
#else
  const Isa plain = Isa::scalar;
  const Isa expected[] = {Isa::scalar, Isa::scalar, Isa::scalar};
#endif
  for (const Isa isa : expected) {
    for (const TypeTraits& type : all_types()) {
      if (type.decode == nullptr) continue;
      EXPECT_EQ(chosen(type.type), type.is_quantized ? isa : plain) << type.name;
    }
    cpu.neon_i8mm = cpu.neon_dotprod;
    cpu.neon_dotprod = true;
  }
}

}  // namespace
}  // namespace thimble::kernels
