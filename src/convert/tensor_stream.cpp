#include "convert/tensor_stream.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <span>
#include <vector>

#include "base/error.h"
#include "base/float16.h"
#include "base/function_ref.h"

namespace thimble {

namespace {

// Large enough to hide the cost of a write, small enough to stay in the second-level cache.
constexpr size_t kChunkBytes = 256 << 10;

template <typename T>
T load(const std::byte* at) noexcept {
  T value;
  std::memcpy(&value, at, sizeof(T));  // file data need not be aligned
  return value;
}

// `in`: n elements of `type`.
void decode(SafetensorsType type, const std::byte* in, std::span<float> out) noexcept {
  const size_t bytes = safetensors_type_bytes(type);
  for (float& value : out) {
    if (type == SafetensorsType::f16) {
      value = f16_to_f32(load<uint16_t>(in));
    } else if (type == SafetensorsType::bf16) {
      value = bf16_to_f32(load<uint16_t>(in));
    } else if (type == SafetensorsType::f32) {
      value = load<float>(in);
    } else {
      value = static_cast<float>(load<double>(in));
    }
    in += bytes;
  }
}

// Errors: unsupported, with the value that has no f16.
void encode_f16(std::span<const float> in, std::byte* out, const TensorJob& job, const std::string& source) {
  for (const float value : in) {
    const uint16_t half = f32_to_f16(value);
    if ((half & 0x7FFFu) == 0x7C00u && !std::isinf(value)) {
      fail(ErrorCode::unsupported, "{}: tensor '{}' has the value {}, beyond f16's 65504; convert with --type bf16",
           source, job.source->name, value);
    }
    std::memcpy(out, &half, sizeof(half));
    out += sizeof(half);
  }
}

void encode(std::span<const float> in, std::byte* out, const TensorJob& job, const std::string& source) {
  if (job.plan.type == TensorType::f32) {
    std::memcpy(out, in.data(), in.size_bytes());
  } else if (job.plan.type == TensorType::f16) {
    encode_f16(in, out, job, source);
  } else {
    for (size_t i = 0; i < in.size(); ++i) {
      const uint16_t value = f32_to_bf16(in[i]);
      std::memcpy(out + i * sizeof(value), &value, sizeof(value));
    }
  }
}

bool same_type(SafetensorsType from, TensorType to) {
  return (from == SafetensorsType::f32 && to == TensorType::f32) ||
         (from == SafetensorsType::f16 && to == TensorType::f16) ||
         (from == SafetensorsType::bf16 && to == TensorType::bf16);
}

// Rows that are unpacked at once: neighbours share the words or the cache lines of a packed matrix.
constexpr size_t kPackedRows = 64;

void stream_packed(const TensorJob& job, FunctionRef<void(std::span<const std::byte>)> write, const Task& task) {
  const PackedMatrix& matrix = *job.packed;
  const auto n_in = static_cast<size_t>(matrix.n_in);
  const size_t out_row = static_cast<size_t>(*row_bytes(job.plan.type, n_in));
  std::vector<int64_t> rows;
  std::vector<uint8_t> codes(kPackedRows * n_in);
  std::vector<float> scales(static_cast<size_t>(matrix.n_groups)), floats(n_in);
  std::vector<uint8_t> zeros(scales.size());
  std::vector<std::byte> chunk(kPackedRows * out_row);
  for (int64_t first = 0; first < matrix.n_out; first += static_cast<int64_t>(rows.size())) {
    task.check("convert");
    rows.clear();
    for (int64_t row = first; row < matrix.n_out && rows.size() < kPackedRows; ++row) {
      rows.push_back(job.permuted_heads > 0 ? row_source(row, matrix.n_out, job.permuted_heads) : row);
    }
    read_codes(matrix, rows, codes.data());
    for (size_t i = 0; i < rows.size(); ++i) {
      read_groups(matrix, rows[i], scales.data(), zeros.data());
      encode_packed_row(job.plan.type, matrix, codes.data() + i * n_in, scales.data(), zeros.data(), floats.data(),
                        chunk.data() + i * out_row);
    }
    write(std::span(chunk).first(rows.size() * out_row));
  }
}

}  // namespace

void stream_tensor(const TensorJob& job, const std::string& source, GgufWriter& writer, const Task& task,
                   StreamProgress& progress) {
  const auto write = [&](std::span<const std::byte> bytes) {
    writer.write(bytes);
    progress.done += bytes.size();
    task.report(progress.done, progress.total, job.plan.name);
  };
  if (job.packed) return stream_packed(job, write, task);
  if (job.source == nullptr) {
    write(std::as_bytes(std::span(job.values)));
    return;
  }
  const auto n_cols = static_cast<size_t>(job.plan.ne[0]);
  const auto n_rows = static_cast<size_t>(job.plan.ne[1]);
  const size_t in_row = n_cols * safetensors_type_bytes(job.source->type);
  const size_t out_row = n_cols * traits(job.plan.type).block_bytes;
  const size_t rows_at_once = std::clamp<size_t>(kChunkBytes / std::max<size_t>(out_row, 1), 1, n_rows);
  const bool copy = same_type(job.source->type, job.plan.type);
  std::vector<std::byte> chunk(rows_at_once * out_row);
  std::vector<float> floats(copy ? 0 : n_cols);
  for (size_t first = 0; first < n_rows; first += rows_at_once) {
    task.check("convert");
    const size_t count = std::min(rows_at_once, n_rows - first);
    for (size_t i = 0; i < count; ++i) {
      const auto row = static_cast<int64_t>(first + i);
      const int64_t from = job.permuted_heads > 0 ? row_source(row, job.plan.ne[1], job.permuted_heads) : row;
      const std::byte* in = job.source->data.data() + static_cast<size_t>(from) * in_row;
      std::byte* out = chunk.data() + i * out_row;
      if (copy) {
        std::memcpy(out, in, out_row);
      } else {
        decode(job.source->type, in, floats);
        encode(floats, out, job, source);
      }
    }
    write(std::span(chunk).first(count * out_row));
  }
}

}  // namespace thimble
