// The profile "host": bandwidth by reading a buffer larger than the caches, decode and prefill by the program's own
// matrix product on a synthetic Q4_K matrix of the same size, so that the plan speaks of this program on this machine.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <functional>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/cpu.h"
#include "base/error.h"
#include "base/thread_pool.h"
#include "device/profile.h"
#include "device/read_bandwidth.h"
#include "ops/ops.h"

namespace thimble {

namespace {

constexpr int64_t kColumns = 4096;      // width of a 7B model
constexpr int64_t kPrefillTokens = 64;  // enough to reuse every expanded weight
constexpr int64_t kPrefillRows = 512;   // 0.3 Gop a pass: long against the clock, short against a second
constexpr double kSecondsPerFigure = 0.25;
// Attention, norms and rope are not in the product that is measured.
constexpr double kPrefillShare = 0.85;

/// Best of as many passes as fit the time, at least two: other processes only ever make a pass slower.
double best_seconds(const std::function<void()>& pass) {
  using Clock = std::chrono::steady_clock;
  const Clock::time_point start = Clock::now();
  double best = 0;
  for (int i = 0;; ++i) {
    const Clock::time_point begin = Clock::now();
    pass();
    const Clock::time_point end = Clock::now();
    const double seconds = std::max(1e-9, std::chrono::duration<double>(end - begin).count());
    if (i == 0 || seconds < best) best = seconds;
    if (i >= 1 && std::chrono::duration<double>(end - start).count() > kSecondsPerFigure) return best;
  }
}

/// Bytes the system could lend: MemAvailable, or the rest of the control group's limit where that is less.
uint64_t available_memory() {
  uint64_t available = static_cast<uint64_t>(std::max(0L, ::sysconf(_SC_AVPHYS_PAGES))) *
                       static_cast<uint64_t>(std::max(1L, ::sysconf(_SC_PAGESIZE)));
  std::ifstream meminfo("/proc/meminfo");
  for (std::string line; std::getline(meminfo, line);) {
    unsigned long long kib = 0;
    if (std::sscanf(line.c_str(), "MemAvailable: %llu kB", &kib) == 1) available = uint64_t{kib} * 1024;
  }
  uint64_t limit = 0;
  uint64_t used = 0;
  if (std::ifstream("/sys/fs/cgroup/memory.max") >> limit && std::ifstream("/sys/fs/cgroup/memory.current") >> used) {
    available = std::min(available, limit - std::min(limit, used));
  }
  return available;
}

/// Four times the last level cache, where the system tells it, within an eighth of the memory.
size_t buffer_bytes() {
  const long cache = ::sysconf(_SC_LEVEL3_CACHE_SIZE);
  const uint64_t wanted = std::clamp<uint64_t>(4 * static_cast<uint64_t>(std::max(0L, cache)), 64u << 20, 256u << 20);
  return static_cast<size_t>(std::clamp<uint64_t>(available_memory() / 8, 16u << 20, wanted));
}

/// Fills the buffer with copies of one encoded row and gives its view as a matrix.
TensorView fill_matrix(AlignedBuffer<uint64_t>& buffer) {
  const TypeTraits& type = traits(TensorType::q4_k);
  const size_t row = *row_bytes(type.type, kColumns);
  std::vector<float> floats(kColumns);
  for (size_t i = 0; i < floats.size(); ++i) floats[i] = static_cast<float>(i % 251) / 251.0f - 0.5f;
  std::vector<std::byte> encoded(row);
  type.encode(floats.data(), nullptr, encoded.data(), kColumns);
  const size_t n_rows = buffer.size() * sizeof(uint64_t) / row;
  auto* bytes = reinterpret_cast<std::byte*>(buffer.data());
  for (size_t i = 0; i < n_rows; ++i) std::copy(encoded.begin(), encoded.end(), bytes + i * row);
  return {type.type, {kColumns, static_cast<int64_t>(n_rows), 1, 1}, {bytes, n_rows * row}};
}

/// Seconds of one product of the first `n_rows` rows with `n_tokens` activations.
double matmul_seconds(ThreadPool& pool, TensorView matrix, int64_t n_rows, int64_t n_tokens) {
  const kernels::Isa isa = kernels::best_isa(host_cpu());
  const ops::Backend backend = ops::make_backend(pool, isa);
  matrix.data = matrix.data.first(static_cast<size_t>(n_rows) * matrix.row_bytes());
  matrix.ne[1] = n_rows;
  const ops::Weight weight = ops::prepare_weight(matrix, isa);
  ops::ActivationBuffer scratch(n_tokens, kColumns);
  std::vector<float> x(static_cast<size_t>(n_tokens * kColumns), 0.25f);
  std::vector<float> out(static_cast<size_t>(n_tokens * n_rows));
  const ops::MatmulOutput outputs[] = {{&weight, out.data(), nullptr}};
  return best_seconds([&] { ops::matmul(backend, outputs, x.data(), n_tokens, scratch); });
}

AlignedBuffer<uint64_t> make_buffer() {
  try {
    return AlignedBuffer<uint64_t>(buffer_bytes() / sizeof(uint64_t));
  } catch (const std::bad_alloc&) {
    fail(ErrorCode::resource_exhausted, "measuring this machine: could not get {} bytes of memory", buffer_bytes());
  }
}

}  // namespace

DeviceProfile measure_host(int n_threads) {
  ThreadPool pool(n_threads);
  AlignedBuffer<uint64_t> buffer = make_buffer();
  const TensorView matrix = fill_matrix(buffer);
  const double bandwidth = ReadBandwidth(pool).best(kSecondsPerFigure);
  const double decode = static_cast<double>(matrix.data.size()) / matmul_seconds(pool, matrix, matrix.ne[1], 1);
  const int64_t rows = std::min(kPrefillRows, matrix.ne[1]);
  const double ops = 2.0 * static_cast<double>(kPrefillTokens * rows * kColumns);
  DeviceProfile p;
  p.name = "host";
  p.description = fmt::format("{}, {} threads, measured now", cpu_model_name(), n_threads);
  p.app_memory_bytes = available_memory();
  p.memory_bandwidth_gb_s = bandwidth / 1e9;
  p.bandwidth_efficiency = std::min(1.0, decode / bandwidth);
  p.int8_gops = ops / matmul_seconds(pool, matrix, rows, kPrefillTokens) / 1e9;
  p.compute_efficiency = kPrefillShare;
  p.source = fmt::format("read of {} MiB and q4_k products with {} kernels", matrix.data.size() >> 20,
                         kernels::isa_name(kernels::best_isa(host_cpu())));
  return p;
}

}  // namespace thimble
