// Prints what every matmul kernel reaches on 5632 x 2048 matrices (the feed-forward shape of a 1.1B model):
//   GB/s of weights with one column (decode) and GOP/s with 256 columns (prefill; a multiply-add is two operations).
// Usage: thimble_kernel_bench [threads] [type] [isa]. Decode walks over 256 MB of weights, so that caches do not help.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "base/thread_pool.h"
#include "kernels/matmul_kernel.h"
#include "ops/ops.h"

namespace {

using thimble::ops::MatmulOutput;
using thimble::ops::Weight;

constexpr int64_t kRows = 5632;
constexpr int64_t kK = 2048;
constexpr int64_t kPrefill = 256;
constexpr size_t kDecodeBytes = size_t{256} << 20;

double seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Best of three passes over all matrices.
double best_time(const thimble::ops::Backend& backend, const std::vector<Weight>& weights, int64_t n_tokens) {
  std::vector<float> x(static_cast<size_t>(n_tokens * kK));
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(static_cast<int>(i * 37 % 255) - 127) / 127.0f;
  std::vector<float> out(static_cast<size_t>(n_tokens * kRows));
  thimble::ops::ActivationBuffer scratch(n_tokens, kK);
  double best = 1e9;
  for (int pass = 0; pass < 3; ++pass) {
    const double start = seconds();
    for (const Weight& weight : weights) {
      const MatmulOutput output = {&weight, out.data()};
      thimble::ops::matmul(backend, {&output, 1}, x.data(), n_tokens, scratch);
    }
    best = std::min(best, seconds() - start);
  }
  return best;
}

void measure(const thimble::kernels::MatmulKernel& kernel, thimble::ThreadPool& pool) {
  const size_t row = *thimble::row_bytes(kernel.type, kK);
  const size_t matrix = row * kRows;
  const size_t count = kDecodeBytes / matrix;
  std::vector<std::byte> bytes(matrix * count);
  uint32_t state = 1;
  for (std::byte& b : bytes) b = static_cast<std::byte>((state = state * 1664525u + 1013904223u) >> 27);
  std::vector<Weight> weights;
  for (size_t i = 0; i < count; ++i) {
    const thimble::TensorView view = {kernel.type, {kK, kRows, 1, 1}, std::span(bytes).subspan(i * matrix, matrix)};
    weights.push_back(thimble::ops::prepare_weight(view, kernel.isa));
  }
  const thimble::ops::Backend backend = thimble::ops::make_backend(pool, kernel.isa);
  const bool slow = kernel.isa == thimble::kernels::Isa::scalar;
  if (slow) weights.resize(2);
  const double decode = best_time(backend, weights, 1);
  const double decode_bytes = static_cast<double>(matrix * weights.size());
  weights.resize(slow ? 1 : 4);
  const int64_t tokens = slow ? 8 : kPrefill;
  const double prefill = best_time(backend, weights, tokens);
  const double operations = 2.0 * static_cast<double>(kRows * kK * tokens) * static_cast<double>(weights.size());
  std::printf("%-28s %d threads  decode %7.2f GB/s  prefill %8.1f GOP/s\n", std::string(kernel.name).c_str(),
              pool.n_threads(), decode_bytes / decode * 1e-9, operations / prefill * 1e-9);
}

}  // namespace

int main(int argc, char** argv) {
  const int threads = argc > 1 ? std::atoi(argv[1]) : 1;
  const std::string_view type = argc > 2 ? argv[2] : "";
  const std::string_view isa = argc > 3 ? argv[3] : "";
  thimble::ThreadPool pool(threads);
  for (const thimble::kernels::MatmulKernel& kernel : thimble::kernels::matmul_kernels()) {
    if (!thimble::kernels::supports(thimble::host_cpu(), kernel.isa)) continue;
    if (!type.empty() && thimble::traits(kernel.type).name != type) continue;
    if (!isa.empty() && thimble::kernels::isa_name(kernel.isa) != isa) continue;
    measure(kernel, pool);
  }
  return 0;
}
