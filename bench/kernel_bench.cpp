// Prints what every matmul kernel reaches on 5632 x 2048 matrices (the feed-forward shape of a 1.1B model), from GGUF
// blocks and from packed panels (kernels/packed_layout.h):
//   decode    GB/s of weights with one column: out of memory (walking over 192 MB, more than caches hold) and out of
//   the
//             second-level cache of one core (a matrix of 384 KiB, again and again, one thread)
//   prefill   GOP/s with 256 columns; a multiply-add is two operations
//   of peak   packed prefill (GGUF where there is no packed form) beside a loop of nothing but dot products of the same
//             instruction set in registers, measured in the same run
// Usage: thimble_kernel_bench [threads] [type] [isa] [--prefetch on|off]. Weights are any bits; kernels take the same
// time for all. --prefetch decides what CpuFeatures::wants_prefetch says of this processor.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/thread_pool.h"
#include "bench/bench_program.h"
#include "bench/kernel_peak.h"
#include "kernels/matmul_kernel.h"
#include "kernels/packed_layout.h"

namespace {

using thimble::kernels::ActivationGroup;
using thimble::kernels::ActivationLayout;
using thimble::kernels::Isa;
using thimble::kernels::MatmulArgs;
using thimble::kernels::MatmulKernel;

constexpr int64_t kRows = 5632;
constexpr int64_t kK = 2048;
constexpr int64_t kPrefill = 256;
constexpr size_t kMemoryBytes = size_t{192} << 20;
constexpr size_t kCacheBytes = size_t{384} << 10;
constexpr double kEnough = 0.12;  // seconds of one figure

double seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Best time of one call, of at least two.
double best_time(const std::function<void()>& call) {
  double best = 1e9;
  const double begin = seconds();
  for (int i = 0; i < 3 || seconds() - begin < kEnough; ++i) {
    const double start = seconds();
    call();
    best = std::min(best, seconds() - start);
  }
  return best;
}

// Everything that kernels read and write, shared by all of them.
struct Buffers {
  thimble::AlignedBuffer<std::byte> weights{kMemoryBytes};
  thimble::AlignedBuffer<std::byte> x{size_t{kPrefill} * kK * sizeof(float)};
  std::vector<float> out = std::vector<float>(size_t{kPrefill} * kRows);

  Buffers() {
    uint32_t state = 1;
    for (size_t i = 0; i < kMemoryBytes; ++i) {
      weights.data()[i] = static_cast<std::byte>((state = state * 1664525u + 1013904223u) >> 27);
    }
    set_activations(ActivationLayout::f32);
  }

  void set_activations(ActivationLayout layout) {
    if (layout == ActivationLayout::f32) {
      auto* values = reinterpret_cast<float*>(x.data());
      for (int64_t i = 0; i < kPrefill * kK; ++i) {
        values[i] = static_cast<float>(static_cast<int>(i * 37 % 255) - 127) / 127.0f;
      }
      return;
    }
    auto* groups = reinterpret_cast<ActivationGroup*>(x.data());
    for (int64_t g = 0; g < kPrefill * kK / 256; ++g) {
      for (int i = 0; i < 256; ++i) groups[g].q[i] = static_cast<int8_t>((g * 256 + i) * 37 % 255 - 127);
      for (int16_t& sum : groups[g].sums) sum = 100;
      for (float& d : groups[g].d) d = 0.01f;
    }
  }
};

struct Shape {
  int64_t rows, cols;
  bool packed;
};

// What is measured: empty names stand for all.
struct Choice {
  int threads = 1;
  std::string type, isa;
  bool prefetch = thimble::host_cpu().wants_prefetch;
};

class KernelBench {
 public:
  KernelBench(const MatmulKernel& kernel, thimble::ThreadPool& pool, Buffers& buffers, bool prefetch)
      : kernel_(kernel),
        pool_(pool),
        buffers_(buffers),
        row_(*thimble::row_bytes(kernel.type, kK)),
        prefetch_(prefetch) {}

  // GB/s with one column.
  double decode_from_memory(bool packed) {
    const size_t matrix = row_ * static_cast<size_t>(kRows);
    const size_t count = std::min<size_t>(kMemoryBytes / matrix, kernel_.isa == Isa::scalar ? 2 : 1000);
    const double time = best_time([&] {
      for (size_t i = 0; i < count; ++i) multiply(buffers_.weights.data() + i * matrix, {kRows, 1, packed});
    });
    return static_cast<double>(matrix * count) / time * 1e-9;
  }

  double decode_from_cache(bool packed) {
    const auto rows = static_cast<int64_t>(kCacheBytes / row_ / 32 * 32);
    const double time = best_time([&] {
      for (int i = 0; i < 8; ++i) multiply_rows(buffers_.weights.data(), {rows, 1, packed}, 0, rows);
    });
    return 8.0 * static_cast<double>(row_) * static_cast<double>(rows) / time * 1e-9;
  }

  // GOP/s with many columns.
  double prefill(bool packed) {
    const int64_t cols = kernel_.isa == Isa::scalar ? 8 : kPrefill;
    const double time = best_time([&] { multiply(buffers_.weights.data(), {kRows, cols, packed}); });
    return 2.0 * static_cast<double>(kRows * kK * cols) / time * 1e-9;
  }

 private:
  void multiply_rows(const std::byte* weights, const Shape& shape, int64_t begin, int64_t end) {
    const size_t panel = shape.packed ? static_cast<size_t>(kernel_.packed_lanes) : 1;
    const MatmulArgs args = {.weights = weights + row_ * static_cast<size_t>(begin),
                             .weight_stride = row_ * panel,
                             .x = buffers_.x.data(),
                             .x_stride = thimble::kernels::activation_row_bytes(kernel_.layout, kK),
                             .out = buffers_.out.data() + begin,
                             .out_stride = static_cast<size_t>(kRows),
                             .n_rows = end - begin,
                             .n_cols = shape.cols,
                             .k = kK,
                             .packed = shape.packed,
                             .prefetch = prefetch_};
    kernel_.function(args);
  }

  void multiply(const std::byte* weights, const Shape& shape) {
    // One column is a stream of memory for each thread; many are dealt out in items that balance the threads.
    constexpr int64_t kItem = 128;
    const auto rows = [&](int64_t begin, int64_t end) { multiply_rows(weights, shape, begin, end); };
    if (shape.cols == 1) {
      pool_.split(shape.rows, 32, rows);
    } else {
      pool_.parallel_for(shape.rows / kItem, 1, [&](int64_t begin, int64_t end) { rows(begin * kItem, end * kItem); });
    }
  }

  const MatmulKernel& kernel_;
  thimble::ThreadPool& pool_;
  Buffers& buffers_;
  size_t row_;
  bool prefetch_;
};

void measure(const MatmulKernel& kernel, thimble::ThreadPool& pool, Buffers& buffers, bool prefetch) {
  buffers.set_activations(kernel.layout);
  KernelBench bench(kernel, pool, buffers, prefetch);
  const bool packs = kernel.packed_lanes > 0;
  const double memory = bench.decode_from_memory(false);
  const double packed_memory = packs ? bench.decode_from_memory(true) : 0.0;
  const double cache = bench.decode_from_cache(false);
  const double packed_cache = packs ? bench.decode_from_cache(true) : 0.0;
  const double prefill = bench.prefill(false);
  const double packed_prefill = packs ? bench.prefill(true) : 0.0;
  const double peak = thimble::bench::peak_gops(kernel.isa, kernel.layout == ActivationLayout::f32) *
                      static_cast<double>(pool.n_threads());
  std::printf("%-26s %7.1f %7.1f   %7.1f %7.1f   %8.1f %8.1f", std::string(kernel.name).c_str(), memory, packed_memory,
              cache, packed_cache, prefill, packed_prefill);
  if (peak > 0.0) std::printf("  %5.1f %%", 100.0 * (packs ? packed_prefill : prefill) / peak);
  std::printf("\n");
  std::fflush(stdout);
}

void measure_all(const Choice& choice) {
  thimble::ThreadPool pool(choice.threads, {.pin_caller = true});
  Buffers buffers;
  std::printf("%d threads%s; per kernel from GGUF blocks, then from packed panels\n", choice.threads,
              choice.prefetch ? ", prefetching" : "");
  std::printf("%-26s %15s   %15s   %17s  %s\n", "", "decode GB/s", "cache GB/s/core", "prefill GOP/s", "of peak");
  for (const MatmulKernel& kernel : thimble::kernels::matmul_kernels()) {
    if (!thimble::kernels::supports(thimble::host_cpu(), kernel.isa)) continue;
    if (!choice.type.empty() && thimble::traits(kernel.type).name != choice.type) continue;
    if (!choice.isa.empty() && thimble::kernels::isa_name(kernel.isa) != choice.isa) continue;
    measure(kernel, pool, buffers, choice.prefetch);
  }
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"What every matmul kernel of this machine reaches", "thimble_kernel_bench"};
  Choice choice;
  std::set<std::string> types;
  for (const MatmulKernel& kernel : thimble::kernels::matmul_kernels()) {
    types.emplace(thimble::traits(kernel.type).name);
  }
  thimble::bench::add_threads(app, choice.threads);
  app.add_option("type", choice.type)->check(CLI::IsMember(types));
  thimble::bench::add_isa(app, choice.isa);
  const std::map<std::string, bool> switches = {{"on", true}, {"off", false}};
  app.add_option("--prefetch", choice.prefetch)->transform(CLI::CheckedTransformer(switches));
  return thimble::bench::run_program(app, argc, argv, [&] { measure_all(choice); });
}
