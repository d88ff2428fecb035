// Rounding under factors and the error it leaves. Products with H and with held-out rows are ordinary float matmuls:
// error rows are the activations, H or X the weight.
#include "quantize/fold_loss.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "ops/round.h"

namespace thimble {

namespace {

// Error rows multiplied at once: their products with 11,008 columns take 5 MB.
constexpr int64_t kRowsAtOnce = 128;
// Rows a thread takes: at least the 16 blocks that fill the registers of every machine.
constexpr int64_t kRowsPerGrain = 16;

ops::ActivationBuffer make_scratch(std::span<const SampledMatrix> matrices) {
  const int64_t n = matrices.empty() ? 0 : static_cast<int64_t>(matrices[0].rows.size()) / matrices[0].n_rows;
  return ops::ActivationBuffer(1, std::max<int64_t>(n, 1));  // float products do not use it
}

ops::Weight float_weight(const float* values, int64_t n_rows, int64_t n, kernels::Isa isa) {
  TensorView view;
  view.type = TensorType::f32;
  view.ne = {n, n_rows, 1, 1};
  view.data = std::as_bytes(std::span(values, static_cast<size_t>(n_rows * n)));
  return ops::prepare_weight(view, isa);
}

void check_finite(const GgufFile& gguf, const GgufTensor& tensor, int64_t row, std::span<const float> values) {
  for (const float value : values) {
    if (std::isfinite(value)) continue;
    fail(ErrorCode::corrupt, "{}: tensor {}: row {}: found {}, expected finite weights", gguf.source(), tensor.name,
         row, std::isnan(value) ? "NaN" : "infinity");
  }
}

}  // namespace

std::vector<SampledMatrix> sample_site(const GgufFile& gguf, const FoldSite& site, std::span<const TypeChoice> choices,
                                       int64_t max_rows) {
  const auto tensors = gguf.tensors();
  if (choices.size() != tensors.size()) {
    fail(ErrorCode::invalid_argument, "{}: found {} type choices, expected {}, one per tensor", gguf.source(),
         choices.size(), tensors.size());
  }
  std::vector<SampledMatrix> out;
  const auto n = static_cast<size_t>(site.n);
  for (const std::string& name : site.consumers) {
    const GgufTensor& tensor = gguf.tensor(name);
    const TypeTraits& type = traits(choices[static_cast<size_t>(&tensor - tensors.data())].type);
    const int64_t n_out = tensor.view.n_rows();
    if (!type.is_quantized || n_out == 0) continue;
    SampledMatrix matrix = {name, type.type, std::min(n_out, max_rows), {}};
    matrix.rows.resize(static_cast<size_t>(matrix.n_rows) * n);
    for (int64_t i = 0; i < matrix.n_rows; ++i) {
      const int64_t row = (2 * i + 1) * n_out / (2 * matrix.n_rows);
      const std::span<float> values(matrix.rows.data() + static_cast<size_t>(i) * n, n);
      traits(tensor.view.type).decode(tensor.view.row(row), values.data(), site.n);
      check_finite(gguf, tensor, row, values);
    }
    out.push_back(std::move(matrix));
  }
  return out;
}

RoundRowsFn round_by_search(const ops::Backend& backend) {
  return [backend](const RowsToRound& job, float* out) {
    const TypeTraits& type = traits(job.type);
    const auto row_bytes = static_cast<size_t>(job.n) / type.block_elems * type.block_bytes;
    std::vector<std::byte> blocks(row_bytes * static_cast<size_t>(job.n_rows));
    const float* importance = job.importance.empty() ? nullptr : job.importance.data();
    backend.pool->parallel_for(job.n_rows, kRowsPerGrain, [&](int64_t begin, int64_t end) {
      const float* const weights = job.weights + begin * job.n;
      std::byte* const out_blocks = blocks.data() + static_cast<size_t>(begin) * row_bytes;
      ops::encode_rows(backend, job.type, weights, end - begin, job.n, importance, out_blocks);
      type.decode(out_blocks, out + begin * job.n, (end - begin) * job.n);
    });
  };
}

SiteLoss::SiteLoss(const ops::Backend& backend, std::span<const SampledMatrix> matrices,
                   std::span<const float> importance, const InputMeasure& measure)
    : backend_(backend),
      matrices_(matrices),
      importance_(importance),
      measure_(measure),
      scratch_(make_scratch(matrices)) {
  size_t largest = 0;
  for (const SampledMatrix& matrix : matrices) {
    n_ = matrix.rows.size() / static_cast<size_t>(matrix.n_rows);
    largest = std::max(largest, matrix.rows.size());
  }
  folded_.resize(largest);
  rounded_.resize(largest);
  folded_importance_.resize(importance.size());
  if (measure_.kind != InputMeasure::Kind::diagonal) {
    const auto n = static_cast<int64_t>(n_);
    const int64_t n_rows = measure_.kind == InputMeasure::Kind::second_moment ? n : measure_.n_rows;
    inputs_ = float_weight(measure_.values, n_rows, n, backend_.isa);
    products_.resize(static_cast<size_t>(kRowsAtOnce * n_rows));
  }
  for (const SampledMatrix& matrix : matrices) energies_.push_back(energy(matrix.rows.data(), matrix.n_rows));
}

double SiteLoss::of(std::span<const float> s, const RoundRowsFn& round) {
  std::copy(importance_.begin(), importance_.end(), folded_importance_.begin());
  if (!importance_.empty()) fold_statistic(s, 2, folded_importance_);
  double sum = 0.0;
  for (size_t m = 0; m < matrices_.size(); ++m) {
    const SampledMatrix& matrix = matrices_[m];
    const float* const rows = matrix.rows.data();
    backend_.pool->parallel_for(matrix.n_rows, 16, [&](int64_t begin, int64_t end) {
      for (size_t at = static_cast<size_t>(begin) * n_; at < static_cast<size_t>(end) * n_; at += n_) {
        for (size_t i = 0; i < n_; ++i) folded_[at + i] = rows[at + i] * s[i];
      }
    });
    round({matrix.name, matrix.type, folded_.data(), matrix.n_rows, static_cast<int64_t>(n_), folded_importance_, s},
          rounded_.data());
    backend_.pool->parallel_for(matrix.n_rows, 16, [&](int64_t begin, int64_t end) {
      for (size_t at = static_cast<size_t>(begin) * n_; at < static_cast<size_t>(end) * n_; at += n_) {
        for (size_t i = 0; i < n_; ++i) rounded_[at + i] = (rounded_[at + i] - folded_[at + i]) / s[i];
      }
    });
    const double error = energy(rounded_.data(), matrix.n_rows);
    sum += energies_[m] > 0.0 ? error / energies_[m] : 0.0;  // a matrix of zeros has no error either
  }
  return matrices_.empty() ? 0.0 : sum / static_cast<double>(matrices_.size());
}

double SiteLoss::diagonal_energy(const float* rows, int64_t n_rows) const noexcept {
  double sum = 0.0;
  for (size_t at = 0; at < static_cast<size_t>(n_rows) * n_; at += n_) {
    for (size_t i = 0; i < n_; ++i) {
      const auto value = static_cast<double>(rows[at + i]);
      sum += value * value * static_cast<double>(measure_.values[i]);
    }
  }
  return sum;
}

// e H e^T for H, |X e|^2 / rows of X for X; summed over the rows e.
double SiteLoss::energy(const float* rows, int64_t n_rows) {
  if (measure_.kind == InputMeasure::Kind::diagonal) return diagonal_energy(rows, n_rows);
  const bool with_h = measure_.kind == InputMeasure::Kind::second_moment;
  double sum = 0.0;
  for (int64_t first = 0; first < n_rows; first += kRowsAtOnce) {
    const int64_t count = std::min(kRowsAtOnce, n_rows - first);
    const float* const x = rows + first * static_cast<int64_t>(n_);
    const ops::MatmulOutput output = {&inputs_, products_.data()};
    ops::matmul(backend_, {&output, 1}, x, count, scratch_);
    const size_t n_products = static_cast<size_t>(count * inputs_.n_out());
    for (size_t i = 0; i < n_products; ++i) {
      const auto product = static_cast<double>(products_[i]);
      sum += product * (with_h ? static_cast<double>(x[i]) : product);
    }
  }
  return with_h ? sum : sum / static_cast<double>(std::max<int64_t>(measure_.n_rows, 1));
}

void say_fold_search(const FoldSearch& search, std::string_view method, const Task& task) {
  size_t n_folded = 0;
  double before = 0.0, after = 0.0;
  for (const FoldChoice& choice : search.choices) {
    task.say(LogLevel::debug,
             "{}: {}: {} {:.2f}: relative output error {:.4e} -> {:.4e} in the search, {:.4e} -> {:.4e} {}: {}", method,
             choice.site, choice.form, choice.ratio, choice.loss_identity, choice.loss, choice.final_identity,
             choice.final_loss, choice.heldout ? "held out" : "decided without held-out rows",
             choice.folded ? "folded" : "left alone");
    n_folded += choice.folded ? 1 : 0;
    before += choice.final_identity;
    after += choice.folded ? choice.final_loss : choice.final_identity;
  }
  const double n = std::max(1.0, static_cast<double>(search.choices.size()));
  task.say(LogLevel::info, "{}: {} of {} sites folded, mean relative output error {:.4e} -> {:.4e}", method, n_folded,
           search.choices.size(), before / n, after / n);
  if (search.skipped.empty()) return;
  task.say(LogLevel::warning, "{}: {} sites have no fold, the first is {}", method, search.skipped.size(),
           search.skipped.front().reason);
}

void normalize_factors(std::span<float> s) noexcept {
  float smallest = std::numeric_limits<float>::infinity();
  float largest = 0.0f;
  for (const float factor : s) {
    if (!std::isfinite(factor) || factor <= 0.0f) continue;
    smallest = std::min(smallest, factor);
    largest = std::max(largest, factor);
  }
  const auto middle = static_cast<float>(std::sqrt(static_cast<double>(smallest) * static_cast<double>(largest)));
  for (float& factor : s) {
    factor /= middle;
    const bool usable = std::isfinite(factor) && factor > 0.0f;
    factor = usable ? std::clamp(factor, 1.0f / kLargestFactor, kLargestFactor) : 1.0f;
  }
}

}  // namespace thimble
