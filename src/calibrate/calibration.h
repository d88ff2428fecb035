// What calibration knows about the inputs of a model's matrices: moments of every channel, the second-moment matrix
// H = E[x x^T], held-out rows, token counts. Read from a calib.thimble (docs/FORMAT.md), mapped: second moments and
// held-out rows are touched when asked for. Immutable; may be shared by threads.
//
// Matrices that share their input (q, k and v; gate and up) share one entry, and every one of them finds it by its own
// name. A tied head is found as token_embd.weight. The token embedding itself multiplies nothing, so it has no input:
// what is known of it are the counts of its rows.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "calibrate/importance.h"
#include "format/gguf.h"

namespace thimble {

/// Moments of the channels of one input, over n_tokens rows that exclude the held-out samples.
struct InputStatistics {
  int64_t n_in = 0;
  int64_t n_tokens = 0;
  std::vector<float> mean_square;  // [n_in] E[x^2], the diagonal of H; [n_experts * n_in] from an imatrix of experts
  std::vector<float> mean_abs;     // [n_in] E|x|; empty when read from an imatrix
  std::vector<float> max_abs;      // [n_in]; empty when read from an imatrix
};

/// H = E[x x^T] of one input over n_tokens rows (no factor 2, no damping). Symmetric, finite, rank <= n_tokens.
struct SecondMoment {
  int64_t n_in = 0;
  int64_t n_tokens = 0;
  std::vector<float> values;  // [n_in, n_in], both triangles
  const float* row(int64_t i) const noexcept { return values.data() + i * n_in; }
};

/// Rows of an input from samples that no statistic has seen. Zero rows when there are none.
struct HeldOut {
  int64_t n_rows = 0;
  int64_t n_in = 0;
  const float* rows = nullptr;  // [n_rows, n_in]
  const float* row(int64_t i) const noexcept { return rows + i * n_in; }
};

/// One input as it is written or built in memory.
struct CalibrationEntry {
  std::string name;                  // "blk.3.attn_qkv", "blk.3.ffn_down", "output", ...
  std::vector<std::string> weights;  // names of the matrices that it multiplies
  InputStatistics statistics;
  std::vector<float> second_moment;  // full [n_in, n_in]; empty: none
  std::vector<float> heldout;        // [n_rows, n_in]; empty: none
};

/// What a calibration says of itself.
struct CalibrationInfo {
  std::string model_key;    // calibration_model_key() of the model; empty: unknown (an imatrix)
  std::string model_name;   // for messages
  std::string data;         // where the samples came from, in words
  int64_t n_sequences = 0;  // without the held-out ones
  int64_t n_heldout_sequences = 0;
  int64_t n_tokens = 0;   // without the held-out ones
  int64_t n_context = 0;  // longest sequence that was allowed
};

class Calibration {
 public:
  /// Maps a calib.thimble. Errors: not_found, io, corrupt (truncated, shapes that contradict each other, statistics
  /// that are no numbers), unsupported (version), invalid_argument (a GGUF of another kind, which is named).
  static Calibration open(const std::string& path);

  /// The same from a parsed file, which it takes. Errors: as open().
  static Calibration from_gguf(GgufFile gguf);

  /// Builds one in memory. `token_counts` [n_vocab] may be empty. Errors: invalid_argument for shapes that contradict
  /// each other, names given twice, numbers that are not finite.
  static Calibration from_entries(const CalibrationInfo& info, std::span<const CalibrationEntry> entries,
                                  std::span<const float> token_counts = {});

  Calibration(Calibration&&) noexcept;
  Calibration& operator=(Calibration&&) noexcept;
  ~Calibration();

  /// Name of the file, for messages.
  const std::string& source() const noexcept;
  const CalibrationInfo& info() const noexcept;

  /// Errors: invalid_argument when it was made from another model (other weights, other shapes), naming both, or when a
  /// matrix of `model` has another number of columns than its statistics. Without a model_key only columns are checked.
  void require_model(const GgufFile& model) const;

  /// Names of all inputs, in the order of the layers.
  std::vector<std::string> inputs() const;
  /// Name of the input of a matrix ("blk.3.attn_k.weight" -> "blk.3.attn_qkv"); empty when there is none.
  std::string_view input_of(std::string_view weight_name) const noexcept;

  /// Statistics of the input of a matrix, by its name or the name of the input; null when there are none.
  const InputStatistics* find(std::string_view weight_name) const noexcept;

  bool has_second_moment(std::string_view weight_name) const noexcept;
  /// Of any input.
  bool has_second_moments() const noexcept;
  /// Both triangles in memory of their own: n_in^2 floats. Errors: not_found (ask has_second_moment first), corrupt
  /// (values that are not finite, a negative diagonal), resource_exhausted.
  SecondMoment second_moment(std::string_view weight_name) const;

  /// A view of the mapping, valid as long as this object; zero rows when there are none. Errors: corrupt (values that
  /// are not finite).
  HeldOut heldout(std::string_view weight_name) const;

  /// How often each row of the token embedding was looked up, held-out samples left out: [n_vocab], or empty. The
  /// expected error of a quantized embedding is that of its rows weighted by these; rows at zero were never touched.
  std::span<const float> token_counts() const noexcept;

  /// Mean squares by the names of the matrices, for quantize().
  Importance importance() const;

  /// Says that the second moment and held-out rows of an input will not be read again soon: their pages leave memory.
  void release(std::string_view weight_name) const noexcept;

 private:
  struct State;
  explicit Calibration(std::unique_ptr<State> state) noexcept;
  std::unique_ptr<State> state_;
};

/// Identity of a model for calibrations: hash of names, types, shapes and samples of the data of all its tensors.
/// Metadata do not count: another chat template makes no other activations. Reads one page per tensor.
std::string calibration_model_key(const GgufFile& model);

}  // namespace thimble
