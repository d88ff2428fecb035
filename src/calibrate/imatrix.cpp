#include "calibrate/imatrix.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "base/error.h"
#include "base/file.h"
#include "base/utf8.h"
#include "calibrate/calibration_format.h"
#include "format/gguf_writer.h"

namespace thimble {

namespace {

constexpr std::string_view kDatasets = "imatrix.datasets";
constexpr std::string_view kChunkCount = "imatrix.chunk_count";
constexpr std::string_view kChunkSize = "imatrix.chunk_size";
constexpr std::string_view kSumsSuffix = ".in_sum2";   // f32 [n_experts, n_in], sums over tokens of x^2
constexpr std::string_view kCountsSuffix = ".counts";  // f32 [n_experts, 1], numbers of tokens

const float* floats_of(const GgufFile& gguf, const GgufTensor& tensor) {
  if (tensor.view.type != TensorType::f32) {
    fail(ErrorCode::corrupt, "{}: tensor '{}': found {}, expected f32", gguf.source(), printable(tensor.name),
         traits(tensor.view.type).name);
  }
  return reinterpret_cast<const float*>(tensor.view.data.data());
}

CalibrationEntry read_entry(const GgufFile& gguf, const std::string& name, const GgufTensor& sums,
                            const GgufTensor& counts) {
  const int64_t n_in = sums.view.ne[0];
  const int64_t n_experts = sums.view.n_rows();
  const int64_t n_counts = counts.view.ne[0] * counts.view.n_rows();
  if (n_counts != 1 && n_counts != n_experts) {
    fail(ErrorCode::corrupt, "{}: tensor '{}': found {} counts, expected 1 or {}", gguf.source(),
         printable(counts.name), n_counts, n_experts);
  }
  const float* const sum = floats_of(gguf, sums);
  const float* const count = floats_of(gguf, counts);
  CalibrationEntry entry;
  entry.name = name + ".input";  // names of inputs and of matrices share one index
  entry.weights = {name};
  entry.statistics.n_in = n_in;
  entry.statistics.mean_square.reserve(static_cast<size_t>(n_in * n_experts));
  for (int64_t e = 0; e < n_experts; ++e) {
    const float n = count[n_counts == 1 ? 0 : e];
    if (!(n >= 0.0f && n < 0x1p31f)) {
      fail(ErrorCode::corrupt, "{}: tensor '{}': found a count of {}, expected 0 to 2^31", gguf.source(),
           printable(counts.name), n);
    }
    entry.statistics.n_tokens = std::max(entry.statistics.n_tokens, static_cast<int64_t>(n));
    for (int64_t i = 0; i < n_in; ++i) {
      // An expert that no token was sent to gets ones, as in llama-quantize.
      const float value = n > 0.0f ? sum[e * n_in + i] / n : 1.0f;
      if (!std::isfinite(value) || value < 0.0f) {
        fail(ErrorCode::corrupt, "{}: tensor '{}': found {} at {}, expected a sum of squares", gguf.source(),
             printable(sums.name), sum[e * n_in + i], i);
      }
      entry.statistics.mean_square.push_back(value);
    }
  }
  return entry;
}

void check_kind(const GgufFile& gguf) {
  const std::string_view kind = gguf.get_string("general.type", "");
  if (kind == "imatrix" || (kind.empty() && gguf.find(kChunkCount) != nullptr)) return;
  fail(ErrorCode::invalid_argument, "{}: found {}, expected an importance matrix of llama.cpp", gguf.source(),
       kind == kCalibrationKind ? "a calibration (--calibration reads it)" : "a GGUF of another kind");
}

CalibrationInfo read_info(const GgufFile& gguf, const std::vector<CalibrationEntry>& entries) {
  CalibrationInfo info;
  info.model_name = gguf.source();
  if (const auto* datasets = gguf.get_strings(kDatasets); datasets != nullptr) {
    info.data = fmt::format("{}", fmt::join(*datasets, ", "));
  }
  info.n_sequences = static_cast<int64_t>(gguf.get_uint(kChunkCount, 0, UINT32_MAX, 0));
  info.n_context = static_cast<int64_t>(gguf.get_uint(kChunkSize, 0, UINT32_MAX, 0));
  for (const CalibrationEntry& entry : entries) info.n_tokens = std::max(info.n_tokens, entry.statistics.n_tokens);
  return info;
}

}  // namespace

Calibration read_imatrix(const std::string& path) {
  {
    const MappedFile file(path);
    const std::span<const std::byte> bytes = file.bytes();
    constexpr std::string_view kMagic = "GGUF";
    const bool gguf = bytes.size() >= kMagic.size() &&
                      std::equal(kMagic.begin(), kMagic.end(), reinterpret_cast<const char*>(bytes.data()));
    if (!gguf) {
      fail(ErrorCode::invalid_argument,
           "{}: found no GGUF; an importance matrix in the old format (.dat) becomes one by llama-imatrix --in-file {} "
           "-o NEW.gguf",
           path, path);
    }
  }
  return read_imatrix(GgufFile::open(path));
}

Calibration read_imatrix(const GgufFile& gguf) {
  check_kind(gguf);
  struct Pair {
    const GgufTensor* sums = nullptr;
    const GgufTensor* counts = nullptr;
  };
  std::map<std::string, Pair> pairs;  // other tensors (in_sum of later versions) are left alone
  for (const GgufTensor& tensor : gguf.tensors()) {
    const auto stem = [&](std::string_view suffix) {
      return std::string(tensor.name.substr(0, tensor.name.size() - suffix.size()));
    };
    if (tensor.name.ends_with(kSumsSuffix)) pairs[stem(kSumsSuffix)].sums = &tensor;
    if (tensor.name.ends_with(kCountsSuffix)) pairs[stem(kCountsSuffix)].counts = &tensor;
  }
  std::vector<CalibrationEntry> entries;
  for (const auto& [name, pair] : pairs) {
    if (pair.sums == nullptr || pair.counts == nullptr) {
      fail(ErrorCode::corrupt, "{}: tensor '{}{}': not found beside '{}{}'", gguf.source(), printable(name),
           pair.sums == nullptr ? kSumsSuffix : kCountsSuffix, printable(name),
           pair.sums == nullptr ? kCountsSuffix : kSumsSuffix);
    }
    entries.push_back(read_entry(gguf, name, *pair.sums, *pair.counts));
  }
  if (entries.empty()) fail(ErrorCode::corrupt, "{}: found no sums, expected tensors NAME.in_sum2", gguf.source());
  return Calibration::from_entries(read_info(gguf, entries), entries);
}

void write_imatrix(const Calibration& calibration, const std::string& path) {
  const CalibrationInfo& info = calibration.info();
  const int64_t chunk = std::max<int64_t>(info.n_context, 1);
  GgufMetadata metadata;
  metadata.set_string("general.type", "imatrix");
  const std::string dataset = info.data.empty() ? "unknown" : info.data;
  metadata.set_strings(kDatasets, std::span(&dataset, 1));
  metadata.set_uint32(kChunkCount, static_cast<uint32_t>((info.n_tokens + chunk - 1) / chunk));
  metadata.set_uint32(kChunkSize, static_cast<uint32_t>(chunk));

  const Importance importance = calibration.importance();
  std::map<std::string, const std::vector<float>*> sorted;  // the order in which llama-imatrix writes
  for (const auto& [name, values] : importance) sorted.emplace(name, &values);
  std::vector<GgufTensorPlan> tensors;
  for (const auto& [name, values] : sorted) {
    const int64_t n_in = calibration.find(name)->n_in;
    const int64_t n_experts = static_cast<int64_t>(values->size()) / n_in;
    tensors.push_back({name + std::string(kSumsSuffix), TensorType::f32, 2, {n_in, n_experts, 1, 1}});
    tensors.push_back({name + std::string(kCountsSuffix), TensorType::f32, 2, {1, n_experts, 1, 1}});
  }
  GgufWriter writer(path, metadata, tensors);
  for (const auto& [name, values] : sorted) {
    const InputStatistics& statistics = *calibration.find(name);
    const auto n_tokens = static_cast<float>(std::max<int64_t>(statistics.n_tokens, 1));
    std::vector<float> sums = *values;
    for (float& sum : sums) sum *= n_tokens;
    const std::vector<float> counts(values->size() / static_cast<size_t>(statistics.n_in), n_tokens);
    writer.write(std::as_bytes(std::span(sums)));
    writer.write(std::as_bytes(std::span(counts)));
  }
  writer.commit();
}

}  // namespace thimble
