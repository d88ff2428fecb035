// Places where factors can move, and the arithmetic of moving them.
// Equivalences: SmoothQuant (Xiao et al. 2211.10438) section 4 for norm -> matrix, AWQ (Lin et al. 2306.00978) for
// up -> down and v -> o. AutoAWQ skips v -> o under grouped queries; with tied factors it is as exact as without.
#include "quantize/fold.h"

#include <array>
#include <cmath>
#include <optional>

#include "base/error.h"

namespace thimble {

namespace {

// Everything a layer of the supported shape has. Whatever else stands in a layer might read the same input.
constexpr std::array<std::string_view, 16> kKnownSuffixes = {
    "attn_norm.weight", "attn_q.weight", "attn_k.weight",   "attn_v.weight",   "attn_output.weight", "attn_q.bias",
    "attn_k.bias",      "attn_v.bias",   "ffn_norm.weight", "ffn_gate.weight", "ffn_up.weight",      "ffn_down.weight",
    "attn_output.bias", "ffn_gate.bias", "ffn_up.bias",     "ffn_down.bias"};

bool is_known(std::string_view suffix) noexcept {
  for (const std::string_view known : kKnownSuffixes) {
    if (suffix == known) return true;
  }
  return false;
}

/// Tensors by layer that the list above does not know: the first one of each.
std::unordered_map<std::string, std::string> unknown_tensors(const GgufFile& gguf) {
  std::unordered_map<std::string, std::string> unknown;
  for (const GgufTensor& tensor : gguf.tensors()) {
    if (!tensor.name.starts_with("blk.")) continue;
    const size_t dot = tensor.name.find('.', 4);
    if (dot == std::string_view::npos || is_known(tensor.name.substr(dot + 1))) continue;
    unknown.emplace(tensor.name.substr(4, dot - 4), tensor.name);
  }
  return unknown;
}

/// One site in the making.
class SiteBuilder {
 public:
  SiteBuilder(const GgufFile& gguf, FoldKind kind, int64_t layer) : gguf_(&gguf) {
    site_.kind = kind;
    site_.layer = layer;
  }

  void set_shape(int64_t n, int64_t n_rep, int64_t head_dim) {
    site_.n = n;
    site_.n_rep = n_rep;
    site_.head_dim = head_dim;
  }

  void norm(std::string_view suffix) {
    const GgufTensor* tensor = take(suffix, site_.n, 1);
    if (tensor == nullptr) return;
    require_f32(*tensor);
    site_.producers.emplace_back(tensor->name);
  }
  void matrix_and_bias(int64_t n_in, std::string_view suffix) {
    const int64_t n_rows = site_.n / site_.n_rep;
    if (const GgufTensor* tensor = take(fmt::format("{}.weight", suffix), n_in, n_rows)) {
      site_.producers.emplace_back(tensor->name);
    }
    const std::string bias = fmt::format("{}.bias", suffix);
    if (gguf_->find_tensor(full_name(bias)) == nullptr) return;
    if (const GgufTensor* tensor = take(bias, n_rows, 1)) {
      require_f32(*tensor);
      site_.producers.emplace_back(tensor->name);
    }
  }
  void consumer(std::string_view suffix, int64_t n_out) {
    const GgufTensor* tensor = take(suffix, site_.n, n_out);
    if (tensor != nullptr) site_.consumers.emplace_back(tensor->name);
  }

  void finish(FoldSites* out) {
    if (reason_.empty()) {
      out->sites.push_back(std::move(site_));
    } else {
      out->skipped.push_back({site_.kind, site_.layer, fmt::format("{}: {}", site_.name(), reason_)});
    }
  }

 private:
  std::string full_name(std::string_view suffix) const { return fmt::format("blk.{}.{}", site_.layer, suffix); }

  const GgufTensor* take(std::string_view suffix, int64_t n_in, int64_t n_out) {
    const std::string name = full_name(suffix);
    const GgufTensor* tensor = gguf_->find_tensor(name);
    if (tensor == nullptr) {
      refuse(fmt::format("tensor {} is missing", name));
      return nullptr;
    }
    const auto& ne = tensor->view.ne;
    if (ne[0] == n_in && ne[1] == n_out && ne[2] == 1 && ne[3] == 1) return tensor;
    refuse(fmt::format("tensor {}: found shape [{}, {}, {}, {}], expected [{}, {}, 1, 1]", name, ne[0], ne[1], ne[2],
                       ne[3], n_in, n_out));
    return nullptr;
  }
  void require_f32(const GgufTensor& tensor) {
    if (tensor.view.type == TensorType::f32) return;
    refuse(fmt::format("tensor {}: found type {}, expected f32: a folded vector would be rounded", tensor.name,
                       traits(tensor.view.type).name));
  }
  void refuse(std::string reason) {
    if (reason_.empty()) reason_ = std::move(reason);
  }

  const GgufFile* gguf_;  // not owned
  FoldSite site_;
  std::string reason_;
};

void add_layer(const ModelConfig& config, const GgufFile& gguf, int64_t layer, FoldSites* out) {
  SiteBuilder qkv(gguf, FoldKind::qkv, layer);
  qkv.set_shape(config.n_embd, 1, 1);
  qkv.norm("attn_norm.weight");
  qkv.consumer("attn_q.weight", config.n_embd_q());
  qkv.consumer("attn_k.weight", config.n_embd_kv());
  qkv.consumer("attn_v.weight", config.n_embd_kv());
  qkv.finish(out);

  SiteBuilder o(gguf, FoldKind::attn_output, layer);
  o.set_shape(config.n_embd_q(), config.n_head / config.n_head_kv, config.head_dim);
  o.matrix_and_bias(config.n_embd, "attn_v");
  o.consumer("attn_output.weight", config.n_embd);
  o.finish(out);

  SiteBuilder gate_up(gguf, FoldKind::gate_up, layer);
  gate_up.set_shape(config.n_embd, 1, 1);
  gate_up.norm("ffn_norm.weight");
  gate_up.consumer("ffn_gate.weight", config.n_ff);
  gate_up.consumer("ffn_up.weight", config.n_ff);
  gate_up.finish(out);

  SiteBuilder down(gguf, FoldKind::down, layer);
  down.set_shape(config.n_ff, 1, 1);
  down.matrix_and_bias(config.n_embd, "ffn_up");
  down.consumer("ffn_down.weight", config.n_embd);
  down.finish(out);
}

bool usable(float factor) noexcept {
  return std::isfinite(factor) && factor > 0.0f;
}

/// First channel whose factor differs from that of the first query head of its group.
std::optional<size_t> find_untied(const FoldSite& site, std::span<const float> s) noexcept {
  for (size_t i = 0; i < s.size(); ++i) {
    const auto head = static_cast<int64_t>(i) / site.head_dim;
    const auto back = static_cast<size_t>(head % site.n_rep * site.head_dim);
    if (s[i] != s[i - back]) return i;
  }
  return std::nullopt;
}

void multiply(std::string_view tensor, std::vector<float>* into, const std::vector<float>& by) {
  if (by.empty()) return;
  if (into->empty()) {
    *into = by;
    return;
  }
  if (into->size() != by.size()) {
    fail(ErrorCode::invalid_argument, "fold of tensor {}: found {} factors, expected {}", tensor, by.size(),
         into->size());
  }
  for (size_t i = 0; i < by.size(); ++i) (*into)[i] *= by[i];
}

void check_factors(std::string_view tensor, std::string_view what, const std::vector<float>& factors, int64_t n) {
  if (factors.empty()) return;
  if (factors.size() != static_cast<size_t>(n)) {
    fail(ErrorCode::invalid_argument, "fold of tensor {}: found {} factors of {}, expected {}", tensor, factors.size(),
         what, n);
  }
  for (size_t i = 0; i < factors.size(); ++i) {
    if (usable(factors[i])) continue;
    fail(ErrorCode::invalid_argument, "fold of tensor {}: {} {}: found factor {}, expected a finite one > 0", tensor,
         what, i, factors[i]);
  }
}

}  // namespace

std::string_view fold_kind_name(FoldKind kind) noexcept {
  switch (kind) {
    case FoldKind::qkv:
      return "qkv";
    case FoldKind::gate_up:
      return "gate_up";
    case FoldKind::down:
      return "down";
    case FoldKind::attn_output:
      return "attn_output";
  }
  return "unknown";
}

std::string FoldSite::name() const {
  return fmt::format("blk.{}.{}", layer, fold_kind_name(kind));
}

FoldSites fold_sites(const ModelConfig& config, const GgufFile& gguf) {
  FoldSites out;
  const auto unknown = unknown_tensors(gguf);
  for (int64_t layer = 0; layer < config.n_layer; ++layer) {
    const auto found = unknown.find(std::to_string(layer));
    if (found == unknown.end()) {
      add_layer(config, gguf, layer, &out);
      continue;
    }
    for (const FoldKind kind : {FoldKind::qkv, FoldKind::attn_output, FoldKind::gate_up, FoldKind::down}) {
      out.skipped.push_back({kind, layer,
                             fmt::format("blk.{}.{}: tensor {} may read or change the same values", layer,
                                         fold_kind_name(kind), found->second)});
    }
  }
  return out;
}

void tie_factors(const FoldSite& site, TieBy by, std::span<float> factors) {
  if (site.n_rep == 1) return;
  const auto head_dim = static_cast<size_t>(site.head_dim);
  const auto n_rep = static_cast<size_t>(site.n_rep);
  for (size_t group = 0; group < factors.size(); group += n_rep * head_dim) {
    for (size_t c = 0; c < head_dim; ++c) {
      double log_sum = 0.0;
      float largest = 0.0f;
      for (size_t r = 0; r < n_rep; ++r) {
        const float factor = factors[group + r * head_dim + c];
        log_sum += std::log(static_cast<double>(factor));
        largest = std::max(largest, factor);
      }
      const float tied =
          by == TieBy::max ? largest : static_cast<float>(std::exp(log_sum / static_cast<double>(n_rep)));
      for (size_t r = 0; r < n_rep; ++r) factors[group + r * head_dim + c] = tied;
    }
  }
}

FoldPlan plan_of_site(const FoldSite& site, std::span<const float> s) {
  check_factors(site.name(), "columns", {s.begin(), s.end()}, site.n);
  if (const auto i = find_untied(site, s)) {
    fail(
        ErrorCode::invalid_argument,
        "fold of {}: channel {}: found factor {}, which differs from that of another query head of the same value head",
        site.name(), *i, s[*i]);
  }
  std::vector<float> rows;
  for (int64_t row = 0; row < site.n / site.n_rep; ++row) {
    const int64_t head = row / site.head_dim;
    const int64_t channel = head * site.n_rep * site.head_dim + row % site.head_dim;
    rows.push_back(1.0f / s[static_cast<size_t>(channel)]);
  }
  FoldPlan plan;
  for (const std::string& name : site.producers) plan[name].rows = rows;
  for (const std::string& name : site.consumers) plan[name].columns.assign(s.begin(), s.end());
  return plan;
}

void compose(FoldPlan* plan, const FoldPlan& other) {
  for (const auto& [name, scales] : other) {
    TensorScales& into = (*plan)[name];
    multiply(name, &into.rows, scales.rows);
    multiply(name, &into.columns, scales.columns);
  }
}

const TensorScales* find_scales(const FoldPlan& plan, std::string_view tensor) {
  const auto found = plan.find(std::string(tensor));
  return found == plan.end() ? nullptr : &found->second;
}

void check_plan(const FoldPlan& plan, const GgufFile& gguf) {
  for (const auto& [name, scales] : plan) {
    const GgufTensor* tensor = gguf.find_tensor(name);
    if (tensor == nullptr) {
      fail(ErrorCode::invalid_argument, "fold of tensor {}: {} has no such tensor", name, gguf.source());
    }
    const bool vector = tensor->n_dims == 1;
    check_factors(name, "rows", scales.rows, vector ? tensor->view.ne[0] : tensor->view.ne[1]);
    if (vector && !scales.columns.empty()) {
      fail(ErrorCode::invalid_argument, "fold of tensor {}: found factors of columns, expected none for a vector",
           name);
    }
    check_factors(name, "columns", scales.columns, tensor->view.ne[0]);
  }
}

void apply_fold(const TensorScales& scales, float* weights, int64_t row_begin, int64_t n_rows, int64_t n_in) noexcept {
  for (int64_t r = 0; r < n_rows; ++r) {
    float* row = weights + r * n_in;
    if (!scales.columns.empty()) {
      for (int64_t i = 0; i < n_in; ++i) row[i] *= scales.columns[static_cast<size_t>(i)];
    }
    if (!scales.rows.empty()) {
      const float factor = scales.rows[static_cast<size_t>(row_begin + r)];
      for (int64_t i = 0; i < n_in; ++i) row[i] *= factor;
    }
  }
}

void fold_statistic(std::span<const float> columns, int power, std::span<float> values) noexcept {
  for (size_t i = 0; i < columns.size(); ++i) {
    for (int p = 0; p < power; ++p) values[i] /= columns[i];
  }
}

void fold_second_moment(std::span<const float> columns, float* h) noexcept {
  const size_t n = columns.size();
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = 0; j < n; ++j) h[i * n + j] /= columns[i] * columns[j];
  }
}

void fold_inputs(std::span<const float> columns, float* x, int64_t n_rows) noexcept {
  const size_t n = columns.size();
  for (size_t t = 0; t < static_cast<size_t>(n_rows); ++t) {
    for (size_t i = 0; i < n; ++i) x[t * n + i] /= columns[i];
  }
}

}  // namespace thimble
