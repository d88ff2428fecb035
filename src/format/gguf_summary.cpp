#include "format/gguf_summary.h"

#include <algorithm>
#include <string_view>

namespace thimble {

namespace {

double bits_per(uint64_t bytes, uint64_t elements) noexcept {
  return elements == 0 ? 0.0 : 8.0 * static_cast<double>(bytes) / static_cast<double>(elements);
}

constexpr std::string_view kValues = ".outlier";
constexpr std::string_view kIndex = ".outlier_index";

// Name of the matrix that a tensor of an outlier branch belongs to, or the tensor's own.
std::string_view matrix_of(std::string_view name) noexcept {
  for (const std::string_view suffix : {kValues, kIndex}) {
    if (name.ends_with(suffix)) return name.substr(0, name.size() - suffix.size());
  }
  return name;
}

}  // namespace

void GgufTotals::add(std::string_view name, uint64_t tensor_elements, uint64_t tensor_bytes) noexcept {
  const std::string_view matrix = matrix_of(name);
  const uint64_t weights = matrix == name ? tensor_elements : 0;
  elements += weights;
  bytes += tensor_bytes;
  if (matrix == "token_embd.weight" || matrix == "output.weight") return;
  body_elements += weights;
  body_bytes += tensor_bytes;
}

double GgufTotals::bits_per_weight() const noexcept {
  return bits_per(bytes, elements);
}

double GgufTotals::body_bits_per_weight() const noexcept {
  return bits_per(body_bytes, body_elements);
}

GgufTotals tensor_totals(const GgufFile& file) noexcept {
  GgufTotals totals;
  for (const GgufTensor& tensor : file.tensors()) {
    totals.add(tensor.name, static_cast<uint64_t>(tensor.view.n_elements()), tensor.view.data.size());
  }
  return totals;
}

GgufSummary summarize(const GgufFile& file) {
  GgufSummary summary;
  summary.totals = tensor_totals(file);
  for (const GgufTensor& tensor : file.tensors()) {
    auto it = std::find_if(summary.by_type.begin(), summary.by_type.end(),
                           [&](const GgufTypeTotals& t) { return t.type == tensor.view.type; });
    if (it == summary.by_type.end()) {
      summary.by_type.push_back({tensor.view.type, 0, 0, 0});
      it = summary.by_type.end() - 1;
    }
    ++it->n_tensors;
    it->elements += static_cast<uint64_t>(tensor.view.n_elements());
    it->bytes += tensor.view.data.size();
    if (matrix_of(tensor.name) != tensor.name) summary.outliers.bytes += tensor.view.data.size();
    if (!tensor.name.ends_with(kIndex)) continue;
    ++summary.outliers.n_matrices;
    summary.outliers.n_channels += static_cast<uint64_t>(tensor.view.n_elements());
  }
  std::stable_sort(summary.by_type.begin(), summary.by_type.end(),
                   [](const GgufTypeTotals& a, const GgufTypeTotals& b) { return a.bytes > b.bytes; });
  summary.stock_obstacles = stock_obstacles(file);
  return summary;
}

}  // namespace thimble
