#include "quantize/convert_rows.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/checked.h"
#include "base/cpu.h"
#include "base/error.h"
#include "ops/round.h"

namespace thimble {

namespace {

// Large enough that starting the threads costs nothing against encoding it, small against any model's tensors.
constexpr int64_t kPieceElements = int64_t{1} << 21;
// Rows handed out at once: the floats stay in the second-level cache, their blocks fill the lanes of the searches
// (128 super-blocks on 16 lanes), and a k-quant search of 5 ns per element takes 0.2 ms.
constexpr int64_t kGrainElements = int64_t{1} << 15;

// The first magnitude that does not round to a finite value. Block types hold their scale as f16 and no trained weight
// comes near that range, so one limit serves them all.
double overflow_limit(const RowConversion& job) noexcept {
  const TensorType to = job.range.value_or(job.to);
  if (to == TensorType::f32) return std::numeric_limits<double>::infinity();
  if (to == TensorType::bf16) return 0x1.FFp+127;
  return 65520.0;
}

int64_t grain_rows(int64_t n_cols) noexcept {
  return std::max<int64_t>(1, kGrainElements / n_cols);
}

// Floats of one thread's grain, padded so that no two threads write to one cache line.
int64_t thread_floats(int64_t n_cols) noexcept {
  return (grain_rows(n_cols) * n_cols + 15) / 16 * 16;
}

void lower(std::atomic<int64_t>& minimum, int64_t value) noexcept {
  int64_t seen = minimum.load(std::memory_order_relaxed);
  while (value < seen && !minimum.compare_exchange_weak(seen, value, std::memory_order_relaxed)) {
  }
}

// True when every value is finite and below `limit` in magnitude. Magnitudes are compared as integers, in whose order
// infinity and then NaN come last: a maximum of floats, ordered by NaN rules, is not made into vector code.
bool in_range(const float* x, int64_t n, double limit) noexcept {
  int32_t largest = 0;
  for (int64_t i = 0; i < n; ++i) largest = std::max(largest, std::bit_cast<int32_t>(x[i]) & 0x7FFFFFFF);
  return largest < 0x7F800000 && static_cast<double>(std::bit_cast<float>(largest)) < limit;
}

[[noreturn]] void fail_row(const RowConversion& job, int64_t row) {
  std::vector<float> floats(static_cast<size_t>(job.view.ne[0]));
  traits(job.view.type).decode(job.view.row(row), floats.data(), job.view.ne[0]);
  for (size_t column = 0; column < floats.size(); ++column) {
    const float x = floats[column];
    if (!std::isfinite(x)) {
      fail(ErrorCode::corrupt, "{}: tensor {}: row {}, column {}: found {}, expected a finite weight", job.source,
           job.name, row, column, std::isnan(x) ? "NaN" : "infinity");
    }
    if (std::fabs(static_cast<double>(x)) >= overflow_limit(job)) {
      fail(ErrorCode::unsupported,
           "{}: tensor {}: row {}, column {}: found {}, expected a weight below {} that {} can hold", job.source,
           job.name, row, column, x, overflow_limit(job), traits(job.range.value_or(job.to)).name);
    }
  }
  fail(ErrorCode::internal, "{}: tensor {}: row {} was refused but all its weights are in range", job.source, job.name,
       row);
}

}  // namespace

RowConverter::RowConverter(ThreadPool& pool, const Task& task)
    : pool_(&pool), task_(&task), backend_(ops::make_backend(pool, kernels::best_isa(host_cpu()))) {}

int64_t RowConverter::convert_rows(const RowConversion& job, int64_t first, int64_t last, std::byte* out,
                                   float* floats) const noexcept {
  const int64_t n_cols = job.view.ne[0];
  const TypeTraits& from = traits(job.view.type);
  for (int64_t row = first; row < last && from.decode != nullptr; ++row) {
    float* x = floats + (row - first) * n_cols;
    from.decode(job.view.row(row), x, n_cols);
    if (!in_range(x, n_cols, overflow_limit(job))) return row;
  }
  if (job.to == job.view.type) {
    std::memcpy(out, job.view.row(first), static_cast<size_t>(last - first) * job.view.row_bytes());
    return last;
  }
  // Rows of one slice (expert) share their importance.
  const auto slices = static_cast<int64_t>(job.importance.size()) / n_cols;
  const int64_t out_row_bytes = n_cols / traits(job.to).block_elems * traits(job.to).block_bytes;
  for (int64_t row = first; row < last;) {
    const int64_t slice = row / job.view.ne[1];
    const int64_t end = slices > 0 ? std::min(last, (slice + 1) * job.view.ne[1]) : last;
    const float* importance = slices > 0 ? job.importance.data() + slice % slices * n_cols : nullptr;
    ops::encode_rows(backend_, job.to, floats + (row - first) * n_cols, end - row, n_cols, importance,
                     out + (row - first) * out_row_bytes);
    row = end;
  }
  return last;
}

void RowConverter::convert_piece(const RowConversion& job, int64_t begin, int64_t end) {
  const int64_t n_cols = job.view.ne[0];
  const auto out_row_bytes = static_cast<int64_t>(*row_bytes(job.to, static_cast<uint64_t>(n_cols)));
  const int64_t grain = grain_rows(n_cols);
  std::atomic<int64_t> next{begin};
  std::atomic<int64_t> first_bad{std::numeric_limits<int64_t>::max()};
  pool_->run([&](int thread_index) {
    float* floats = floats_.data() + thread_index * thread_floats(n_cols);
    while (!task_->cancelled()) {
      const int64_t first = next.fetch_add(grain, std::memory_order_relaxed);
      if (first >= end) return;
      const int64_t last = std::min(end, first + grain);
      const int64_t stopped = convert_rows(job, first, last, piece_.data() + (first - begin) * out_row_bytes, floats);
      if (stopped < last) return lower(first_bad, stopped);
    }
  });
  task_->check(job.name);
  if (const int64_t row = first_bad.load(); row != std::numeric_limits<int64_t>::max()) fail_row(job, row);
}

void RowConverter::convert(const RowConversion& job, FunctionRef<void(std::span<const std::byte>)> sink,
                           FunctionRef<void(int64_t elements)> progress) {
  const int64_t n_cols = job.view.ne[0];
  const int64_t n_rows = job.view.n_rows();
  const std::optional<uint64_t> out_row_bytes = row_bytes(job.to, static_cast<uint64_t>(n_cols));
  if (!out_row_bytes) {
    fail(ErrorCode::internal, "tensor {}: {} columns are no multiple of {} for {}", job.name, n_cols,
         traits(job.to).block_elems, traits(job.to).name);
  }
  const int64_t piece_rows = std::clamp<int64_t>(kPieceElements / n_cols, 1, n_rows);
  const size_t piece_bytes = static_cast<size_t>(piece_rows) * static_cast<size_t>(*out_row_bytes);
  const size_t n_floats = static_cast<size_t>(thread_floats(n_cols)) * static_cast<size_t>(pool_->n_threads());
  if (piece_.size() < piece_bytes) piece_ = AlignedBuffer<std::byte>(piece_bytes);
  if (floats_.size() < n_floats) floats_ = AlignedBuffer<float>(n_floats);
  for (int64_t begin = 0; begin < n_rows; begin += piece_rows) {
    const int64_t end = std::min(n_rows, begin + piece_rows);
    convert_piece(job, begin, end);
    sink({piece_.data(), static_cast<size_t>(end - begin) * static_cast<size_t>(*out_row_bytes)});
    progress(end * n_cols);
  }
}

}  // namespace thimble
