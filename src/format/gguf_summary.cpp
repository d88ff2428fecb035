#include "format/gguf_summary.h"

#include <algorithm>

namespace thimble {

namespace {

double bits_per(uint64_t bytes, uint64_t elements) noexcept {
  return elements == 0 ? 0.0 : 8.0 * static_cast<double>(bytes) / static_cast<double>(elements);
}

}  // namespace

double GgufTotals::bits_per_weight() const noexcept {
  return bits_per(bytes, elements);
}

double GgufTotals::body_bits_per_weight() const noexcept {
  return bits_per(body_bytes, body_elements);
}

GgufTotals tensor_totals(const GgufFile& file) noexcept {
  GgufTotals totals;
  for (const GgufTensor& tensor : file.tensors()) {
    const auto elements = static_cast<uint64_t>(tensor.view.n_elements());
    totals.elements += elements;
    totals.bytes += tensor.view.data.size();
    if (tensor.name == "token_embd.weight" || tensor.name == "output.weight") continue;
    totals.body_elements += elements;
    totals.body_bytes += tensor.view.data.size();
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
  }
  std::stable_sort(summary.by_type.begin(), summary.by_type.end(),
                   [](const GgufTypeTotals& a, const GgufTypeTotals& b) { return a.bytes > b.bytes; });
  summary.stock_obstacles = stock_obstacles(file);
  return summary;
}

}  // namespace thimble
