// Quantizes a float GGUF into another GGUF: streaming (peak memory is one tensor), on all threads, atomic output.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/progress.h"
#include "base/thread_pool.h"
#include "calibrate/calibration.h"
#include "format/gguf.h"
#include "quantize/fold.h"
#include "quantize/rounding.h"
#include "quantize/scheme.h"

namespace thimble {

struct QuantizedTensor {
  std::string name;
  std::array<int64_t, 4> ne;
  TensorType from, to;
  uint64_t bytes;
  std::string reason;
  RoundingMethod method = RoundingMethod::search;  // that was kept
  double damp = 0.0;
  RoundingLoss loss = {};         // relative output errors, where they were measured
  RoundingLoss search_loss = {};  // those of plain search
  std::string fallback = {};      // why the method asked for was not used; empty: it was
};

/// What decides a file beside weights and recipe.
struct QuantizeInputs {
  QuantizeInputs() = default;
  QuantizeInputs(Importance i) : importance(std::move(i)) {}  // NOLINT: importance alone is an input
  Importance importance;                                      // of tensors that the calibration does not know
  const Calibration* calibration = nullptr;  // not owned; null: no second moments, no folds to be searched
  FoldPlan folds;                            // applied before what the recipe searches
};

struct QuantizeResult {
  std::vector<QuantizedTensor> tensors;
  uint64_t file_bytes = 0;
  double bits_per_weight = 0;       // all tensors
  double body_bits_per_weight = 0;  // without token embedding and output head
};

/// What quantize() would write, without reading weights. Errors: as choose_types and read_model_config;
/// invalid_argument when the input is already quantized; unsupported for weights that are no floats.
QuantizeResult plan_quantize(const GgufFile& input, const Recipe& recipe, bool has_importance = false);

/// Writes `output_path`: the metadata of the input with general.file_type, general.quantization_version and thimble.*
/// set, and every tensor folded, rounded and in its new type, as the recipe says. Where a rounding method cannot be
/// used, plain search takes its place: counted in one warning, told per tensor in the result. A run with second moments
/// that was killed or cancelled goes on with the tensors that are not finished (base/resumable_file.h) when it is
/// called again with the same arguments. Errors: as plan_quantize, Calibration::require_model, search_awq,
/// search_smooth; corrupt for NaN or infinite weights and unsupported for weights outside the range of f16, both naming
/// tensor and row; invalid_argument when the output is the input or an importance or a fold does not fit its tensor;
/// io; resource_exhausted; cancelled. The output is old or new, never torn.
QuantizeResult quantize(const GgufFile& input, const std::string& output_path, const Recipe& recipe,
                        const QuantizeInputs& inputs, ThreadPool& pool, const Task& task = {});

/// One of several files to be made from one input.
struct QuantizeJob {
  std::string output_path;
  Recipe recipe;
};

/// Hears the number of a job whose file is there.
using JobFinished = std::function<void(size_t job)>;

/// quantize() of every job, with the same bytes and the same ways of resuming. Second moments, and their factors, which
/// take most of the time where a model is wide, are read and computed once for all recipes that do not fold; these
/// files are in the making at the same time. Errors: as quantize(); files of which `finished` has heard stay.
std::vector<QuantizeResult> quantize_all(const GgufFile& input, std::span<const QuantizeJob> jobs,
                                         const QuantizeInputs& inputs, ThreadPool& pool, const Task& task = {},
                                         const JobFinished& finished = {});

/// Bits per weight of an existing file: all tensors, and without embedding and head.
struct BitsPerWeight {
  double total, body;
};
BitsPerWeight bits_per_weight(const GgufFile& file) noexcept;

}  // namespace thimble
