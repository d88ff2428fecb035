// Measured sensitivity: what rounding one tensor to one type does to the predictions of the model, as the
// Kullback-Leibler divergence from the float model on calibration tokens. The layers before the changed one compute
// what the float model computes, so its residual stream is kept at every layer and a measurement starts there.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/journal.h"
#include "base/progress.h"
#include "base/thread_pool.h"
#include "format/gguf.h"
#include "kernels/isa.h"
#include "model/model.h"
#include "quantize/allocation_plan.h"

namespace thimble {

/// A tensor after rounding: the blocks of its type.
struct CandidateWeights {
  TensorType type = TensorType::f32;
  AlignedBuffer<std::byte> data;  // n_rows * row_bytes(type, n_cols)
};

/// Rounds a tensor of the float model as the pipeline will. Errors: its own; they end the measurement.
using RoundFn = std::function<CandidateWeights(const GgufTensor& tensor, TensorType type)>;

/// Rounding as quantize() does it without second moments: the search for scales, weighted by importance. `importance`
/// and `pool` outlive it. Errors: as RowConverter, naming `source`.
RoundFn search_rounding(std::string source, const Importance& importance, ThreadPool& pool, Task task = {});

struct SensitivitySettings {
  /// Token ids, each sequence from position 0 (BOS in front where the model wants it), at least 2 and at most the
  /// trained context. Divergence is measured in the second half of each, where there is context.
  std::vector<std::vector<int32_t>> sequences;
  /// Every how-manieth position of the second half counts: large vocabularies make their logits the larger part of
  /// time and memory (n_vocab floats for each).
  int64_t score_every = 1;
  /// Mean squared activation of each input column, for rounding_error(); empty or missing entries: all columns alike.
  Importance importance;
  std::string model_key;     // identifies the float model in the cache
  std::string rounding_key;  // identifies what `round` does, and the importance
  Journal* cache = nullptr;  // one line per measurement; null: nothing is kept
};

/// The float model and what is needed to measure changes of it. Not copyable; used by one thread.
class SensitivityMeter {
 public:
  /// Runs the float model once over the sequences. `model` outlives the meter. Memory: the residual stream at every
  /// layer, and n_vocab floats for each scored position (memory_bytes()). Errors: invalid_argument (sequences, ids),
  /// resource_exhausted, unsupported, corrupt (logits that are not finite), cancelled.
  SensitivityMeter(const GgufFile& model, kernels::Isa isa, SensitivitySettings settings, RoundFn round,
                   ThreadPool& pool, Task task = {});
  ~SensitivityMeter();
  SensitivityMeter(const SensitivityMeter&) = delete;
  SensitivityMeter& operator=(const SensitivityMeter&) = delete;

  /// Mean divergence in nats per scored token of the model with only this tensor rounded, multiplied by the kernel of
  /// its type, so that activations are rounded as at run time. From the cache where it has it. Errors: not_found
  /// (tensor); corrupt (a cache entry that is none); as `round`; cancelled.
  double measure(std::string_view tensor, TensorType type);

  /// Relative error of the rounded weights: sum of squared differences over sum of squares, each weighted by the
  /// importance of its column. From the cache where it has it. Errors: as measure().
  double rounding_error(std::string_view tensor, TensorType type);

  /// As measure() with all these tensors rounded at once; not cached. Holds them all in memory.
  double measure_together(std::span<const std::pair<std::string, TensorType>> changes);

  /// Layers that one measurement of this tensor runs, the head counting as one: what it costs. 0 when it is cached.
  uint64_t cost(std::string_view tensor, TensorType type) const;

  int64_t n_scored() const noexcept;
  uint64_t memory_bytes() const noexcept;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

enum class SensitivityEffort {
  every_type,  // each tensor in each type
  // Each tensor in the type nearest to 4.5 bits; its divergence in the others by the ratio of their rounding errors, as
  // a small error's divergence is proportional to its square. As many times faster as there are types.
  one_type,
};

/// Losses of every type of every tensor, reporting progress by cost. Errors: as SensitivityMeter::measure.
std::vector<TypeLoss> measure_sensitivity(SensitivityMeter& meter, std::span<const AllocatableTensor> tensors,
                                          SensitivityEffort effort, const Task& task);

}  // namespace thimble
