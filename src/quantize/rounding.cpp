// The methods over strips of rows, their losses, and the choice between them.
#include "quantize/rounding.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "quantize/coordinate_descent.h"
#include "quantize/second_order.h"
#include "tensor/grid.h"

namespace thimble {

/// Sums of squared output errors; turned into relative ones at the end.
struct SquareSums {
  double calibration = 0.0;
  double heldout = 0.0;

  SquareSums& operator+=(const SquareSums& other) noexcept {
    calibration += other.calibration;
    heldout += other.heldout;
    return *this;
  }
};

namespace {

constexpr std::array<std::string_view, 4> kMethodNames = {"search", "gptq", "gptq_cd", "best"};

// Floats of a strip: 16 MB of weights, as much each of errors, slopes and what products read, and about as much again
// for scales and codes.
constexpr int64_t kStripElements = int64_t{1} << 22;
// Rows that dampings are compared on: their order is that of all rows, and more only take time.
constexpr int64_t kDampRows = 256;

int64_t strip_rows(int64_t n_out, int64_t n_in) noexcept {
  return std::clamp<int64_t>(kStripElements / n_in, 1, n_out);
}

bool has_heldout(const RoundingInput& input) noexcept {
  return input.heldout.n_rows > 0;
}

double heldout_loss(const ops::Backend& backend, const RoundingInput& input, const float* e, int64_t n_rows) {
  return output_loss(backend, input.heldout.rows, input.heldout.n_rows, e, n_rows, input.n_in);
}

double calibration_loss(const ops::Backend& backend, const RoundingInput& input, const float* e, int64_t n_rows) {
  if (input.second_moment == nullptr) return 0.0;
  return quadratic_loss(backend, input.second_moment->values.data(), e, n_rows, input.n_in);
}

SquareSums measure(const ops::Backend& backend, const RoundingInput& input, const float* e, int64_t n_rows) {
  return {calibration_loss(backend, input, e, n_rows), heldout_loss(backend, input, e, n_rows)};
}

RoundingLoss relative(const RoundingInput& input, const SquareSums& errors, const SquareSums& outputs) noexcept {
  const auto share = [](double error, double output) { return output > 0.0 ? error / output : 0.0; };
  RoundingLoss loss;
  if (input.second_moment != nullptr) loss.calibration = share(errors.calibration, outputs.calibration);
  if (has_heldout(input)) loss.heldout = share(errors.heldout, outputs.heldout);
  return loss;
}

double deciding(const RoundingInput& input, const RoundingLoss& loss) noexcept {
  return has_heldout(input) ? loss.heldout : loss.calibration;
}

void check_input(const RoundingInput& input) {
  const auto bad = [&](std::string_view what, int64_t found) {
    fail(ErrorCode::invalid_argument, "tensor {}: {}: found {} columns, expected {}", input.name, what, found,
         input.n_in);
  };
  const auto n_importance = static_cast<int64_t>(input.importance.size());
  if (n_importance != 0 && n_importance != input.n_in) bad("importance", n_importance);
  if (has_heldout(input) && input.heldout.n_in != input.n_in) bad("held-out inputs", input.heldout.n_in);
  if (input.second_moment == nullptr) return;
  const SecondMoment& h = *input.second_moment;
  if (h.n_in != input.n_in || static_cast<int64_t>(h.values.size()) != h.n_in * h.n_in) bad("second moment", h.n_in);
}

// What rounding to plain number types amounts to; they have no scales to search.
Rounded encode_plain(const ops::Backend& backend, const RoundingInput& input) {
  Rounded out;
  const TypeTraits& type = traits(input.type);
  const size_t row = *row_bytes(input.type, static_cast<uint64_t>(input.n_in));
  out.bytes.resize(row * static_cast<size_t>(input.n_out));
  backend.pool->parallel_for(input.n_out, 4, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      type.encode(input.weights + r * input.n_in, nullptr, out.bytes.data() + static_cast<size_t>(r) * row, input.n_in);
    }
  });
  return out;
}

// Evenly spaced rows, so that a matrix whose heads differ is seen as a whole.
std::vector<float> sample_rows(const RoundingInput& input, int64_t n_rows) {
  std::vector<float> rows;
  rows.reserve(static_cast<size_t>(n_rows * input.n_in));
  for (int64_t i = 0; i < n_rows; ++i) {
    const float* const row = input.weights + i * input.n_out / n_rows * input.n_in;
    rows.insert(rows.end(), row, row + input.n_in);
  }
  return rows;
}

double ridge_of(const FeedbackFactor& factor, const SecondMoment& h) noexcept {
  double trace = 0.0;
  for (int64_t i = 0; i < h.n_in; ++i) trace += static_cast<double>(h.row(i)[i]);
  return factor.damp * trace / static_cast<double>(h.n_in);
}

CoordinateDescent descent_of(const ops::Backend& backend, const RoundingInput& input, const FeedbackFactor& factor,
                             RowStrip& strip) {
  return {backend, input.second_moment->values.data(), ridge_of(factor, *input.second_moment), strip};
}

void descend_until_done(const RoundingInput& input, int sweeps, const Task& task, CoordinateDescent& descent) {
  for (int i = 0; i < sweeps; ++i) {
    task.check(input.name);
    if (descent.sweep() == 0) return;
  }
}

}  // namespace

/// One way to round a matrix, strip after strip.
struct Rounder::Candidate {
  RoundingMethod method;
  std::vector<std::byte> bytes;
  SquareSums sums;

  // All but what it is worth on the calibration, which is the caller's to add.
  void take(const ops::Backend& backend, const RoundingInput& input, const RowStrip& strip, int64_t first_row) {
    const size_t row = *row_bytes(input.type, static_cast<uint64_t>(input.n_in));
    if (bytes.empty()) bytes.resize(row * static_cast<size_t>(input.n_out));
    store_strip(backend, strip, bytes.data() + static_cast<size_t>(first_row) * row);
    sums.heldout += heldout_loss(backend, input, strip.error.data(), strip.n_rows);
  }
  void take_whole(const ops::Backend& backend, const RoundingInput& input, const RowStrip& strip, int64_t first_row) {
    take(backend, input, strip, first_row);
    sums.calibration += calibration_loss(backend, input, strip.error.data(), strip.n_rows);
  }
};

std::string_view rounding_method_name(RoundingMethod method) noexcept {
  return kMethodNames[static_cast<size_t>(method)];
}

RoundingMethod rounding_method_from_name(std::string_view name) {
  const auto found = std::find(kMethodNames.begin(), kMethodNames.end(), name);
  if (found == kMethodNames.end()) {
    fail(ErrorCode::invalid_argument, "rounding method: found '{}', expected one of: {}", name,
         fmt::join(kMethodNames, ", "));
  }
  return static_cast<RoundingMethod>(found - kMethodNames.begin());
}

void check_rounding_settings(const RoundingSettings& settings) {
  if (settings.damps.empty()) fail(ErrorCode::invalid_argument, "damping: found no value, expected one or more");
  for (const double damp : settings.damps) {
    if (damp > 0.0 && damp <= 1.0) continue;
    fail(ErrorCode::invalid_argument, "damping: found {}, expected a share of the mean diagonal above 0, at most 1",
         damp);
  }
  if (settings.sweeps < 1 || settings.sweeps > 100) {
    fail(ErrorCode::invalid_argument, "sweeps: found {}, expected 1 to 100", settings.sweeps);
  }
}

Rounder::Rounder(const ops::Backend& backend, const RoundingSettings& settings)
    : backend_(backend), settings_(settings) {
  check_rounding_settings(settings);
}

const FeedbackFactor* Rounder::factor(const RoundingInput& input, double damp) {
  std::vector<Cached>& factors = input.input_name.empty() ? own_factors_ : factors_;
  if (!input.input_name.empty() && (cached_input_ != input.input_name || cached_moment_ != input.second_moment)) {
    factors_.clear();
    cached_input_ = input.input_name;
    cached_moment_ = input.second_moment;
  }
  for (const Cached& cached : factors) {
    if (cached.asked == damp) return cached.factor ? &*cached.factor : nullptr;
  }
  const SecondMoment& h = *input.second_moment;
  factors.push_back({damp, factor_second_moment(h.values.data(), h.n_in, damp, backend_)});
  return factors.back().factor ? &*factors.back().factor : nullptr;
}

double Rounder::choose_damp(const RoundingInput& input, const RoundingSettings& settings, const Task& task) {
  // Without held-out inputs the least damping always looks best, so there is nothing to choose by.
  if (settings.damps.size() == 1 || !has_heldout(input)) return settings.damps.front();
  const int64_t n_rows = std::min(input.n_out, kDampRows);
  const std::vector<float> rows = sample_rows(input, n_rows);
  double best_loss = std::numeric_limits<double>::infinity();
  double best = settings.damps.front();
  for (const double damp : settings.damps) {
    task.check(input.name);
    const FeedbackFactor* const feedback = factor(input, damp);
    if (feedback == nullptr) continue;
    RowStrip strip(*find_grid(input.type), rows.data(), n_rows, input.n_in);
    round_gptq(backend_, *feedback, input.importance, strip);
    if (settings.method != RoundingMethod::gptq) {
      CoordinateDescent descent = descent_of(backend_, input, *feedback, strip);
      descend_until_done(input, settings.sweeps, task, descent);
    }
    const double loss = heldout_loss(backend_, input, strip.error.data(), n_rows);
    if (!(loss < best_loss)) continue;
    best_loss = loss;
    best = damp;
  }
  return best;
}

Rounded Rounder::round_second_order(const RoundingInput& input, const RoundingSettings& settings, const Task& task) {
  const double damp = choose_damp(input, settings, task);
  const FeedbackFactor* const feedback = factor(input, damp);
  const bool wants_gptq = settings.method == RoundingMethod::gptq || settings.method == RoundingMethod::best;
  const bool wants_descent = settings.method == RoundingMethod::gptq_cd || settings.method == RoundingMethod::best;
  // Search is always made: its loss is what the others are judged by.
  Candidate search{RoundingMethod::search, {}, {}};
  Candidate gptq{RoundingMethod::gptq, {}, {}};
  Candidate descent{RoundingMethod::gptq_cd, {}, {}};
  SquareSums outputs;
  const int64_t rows = strip_rows(input.n_out, input.n_in);
  for (int64_t first = 0; first < input.n_out; first += rows) {
    task.check(input.name);
    const int64_t n_rows = std::min(rows, input.n_out - first);
    RowStrip strip(*find_grid(input.type), input.weights + first * input.n_in, n_rows, input.n_in);
    outputs += measure(backend_, input, strip.weights, n_rows);
    round_nearest(backend_, input.importance, strip);
    search.take_whole(backend_, input, strip, first);
    if (feedback == nullptr) continue;
    round_gptq(backend_, *feedback, input.importance, strip);
    if (!wants_descent) {
      gptq.take_whole(backend_, input, strip, first);
      continue;
    }
    if (wants_gptq) gptq.take(backend_, input, strip, first);
    CoordinateDescent run = descent_of(backend_, input, *feedback, strip);
    descend_until_done(input, settings.sweeps, task, run);
    if (wants_gptq) gptq.sums.calibration += run.first_loss();
    descent.take(backend_, input, strip, first);
    descent.sums.calibration += run.loss();
  }
  Rounded out;
  out.search_loss = relative(input, search.sums, outputs);
  if (feedback == nullptr) {
    out.fallback =
        fmt::format("the second moment of its {} inputs is not positive definite, even damped by its mean", input.n_in);
  }
  Candidate* kept = &search;
  out.loss = out.search_loss;
  for (Candidate* candidate : {&gptq, &descent}) {
    if (candidate->bytes.empty()) continue;
    const RoundingLoss loss = relative(input, candidate->sums, outputs);
    // A method asked for by name is kept unless it does harm: then plain rounding is, and says so.
    if (!(deciding(input, loss) <= deciding(input, out.loss))) continue;
    kept = candidate;
    out.loss = loss;
  }
  if (kept == &search && feedback != nullptr && settings.method != RoundingMethod::best) {
    out.fallback = "plain rounding has the smaller error";
  }
  out.method = kept->method;
  out.bytes = std::move(kept->bytes);
  if (kept != &search) out.damp = feedback->damp;
  return out;
}

Rounded Rounder::round(const RoundingInput& input, const Task& task) {
  return round(input, settings_, task);
}

Rounded Rounder::round(const RoundingInput& input, const RoundingSettings& settings, const Task& task) {
  check_rounding_settings(settings);
  check_input(input);
  if (find_grid(input.type) == nullptr) return encode_plain(backend_, input);
  if (settings.method != RoundingMethod::search && input.second_moment != nullptr) {
    own_factors_.clear();
    Rounded out = round_second_order(input, settings, task);
    own_factors_.clear();
    return out;
  }
  Candidate search{RoundingMethod::search, {}, {}};
  SquareSums outputs;
  const int64_t rows = strip_rows(input.n_out, input.n_in);
  for (int64_t first = 0; first < input.n_out; first += rows) {
    task.check(input.name);
    const int64_t n_rows = std::min(rows, input.n_out - first);
    RowStrip strip(*find_grid(input.type), input.weights + first * input.n_in, n_rows, input.n_in);
    outputs += measure(backend_, input, strip.weights, n_rows);
    round_nearest(backend_, input.importance, strip);
    search.take_whole(backend_, input, strip, first);
  }
  Rounded out;
  out.loss = out.search_loss = relative(input, search.sums, outputs);
  out.bytes = std::move(search.bytes);
  if (settings.method != RoundingMethod::search) out.fallback = "nothing is known of the second moment of its inputs";
  return out;
}

}  // namespace thimble
