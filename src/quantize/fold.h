// Equivalent folds: per-channel scales moved from the inputs of matrices into what produces those inputs, so that the
// float model computes the same function while its matrices round better. Owns the places where a model allows that
// (FoldSite), the scales by tensor (FoldPlan), and how weights and calibration statistics change under them.
// Who chooses the scales: awq.h, smooth.h. Convention: W'[o][i] = W[o][i] * rows[o] * columns[i] and x'[i] =
// x[i] / columns[i], so whatever was measured of the inputs of W is divided by W's own columns and by nothing else.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "format/gguf.h"
#include "model/model_config.h"

namespace thimble {

/// Factors of one tensor; empty means ones. A vector (norm, bias) of n elements has rows [n] and no columns.
struct TensorScales {
  std::vector<float> rows;     // [n_out]
  std::vector<float> columns;  // [n_in]
};

/// Factors by tensor name; tensors without an entry stay as they are.
using FoldPlan = std::unordered_map<std::string, TensorScales>;

/// Where scales can move. norm -> q, k, v; norm -> gate, up; up -> down (SwiGLU is linear in up); v -> o.
enum class FoldKind { qkv, gate_up, down, attn_output };
constexpr int kFoldKinds = 4;

/// "qkv", "gate_up", "down", "attn_output".
std::string_view fold_kind_name(FoldKind kind) noexcept;

/// One input that several matrices share, and what produces it. With factors s [n]: columns of consumers times s, rows
/// of producers divided by s.
struct FoldSite {
  FoldKind kind = FoldKind::qkv;
  int64_t layer = 0;
  int64_t n = 0;  // channels: columns of every consumer
  // Grouped queries: n_rep query heads in a row read the same value head, so channel (h, c) of head_dim channels has
  // the factor of (h / n_rep * n_rep, c). 1 elsewhere.
  int64_t n_rep = 1;
  int64_t head_dim = 1;
  std::vector<std::string> producers;  // [n / n_rep] rows each: a norm; or a matrix and its bias
  std::vector<std::string> consumers;  // matrices of [any, n]; consumers[0] names the input's calibration statistics

  std::string name() const;  // "blk.3.qkv"
};

/// A place that has no fold, and why: "blk.0: tensor blk.0.ffn_gate_inp.weight may read the same input".
struct SkippedFold {
  FoldKind kind;
  int64_t layer;
  std::string reason;
};

struct FoldSites {
  std::vector<FoldSite> sites;  // by layer, within one by kind
  std::vector<SkippedFold> skipped;
};

/// All places of a model. The final norm is never one: a tied head is the token embedding too, and an untied one is
/// kept in 6 bits or more. A layer with tensors this does not know (experts, norms of queries), matrices that are
/// missing or of another shape, and norms that are not stored as f32 (the fold would be rounded) are skipped, each
/// with its reason. Errors: none of its own.
FoldSites fold_sites(const ModelConfig& config, const GgufFile& gguf);

/// What grouped queries, whose factors must be equal, get: the geometric mean or the largest of what each would like.
enum class TieBy { mean, max };

/// Makes factors [site.n] equal where the site demands it. Nothing to do when n_rep is 1.
void tie_factors(const FoldSite& site, TieBy by, std::span<float> factors);

/// Factors of all producers and consumers of `site` for s [site.n] > 0, tied. Errors: invalid_argument when s has
/// another size, is not finite and positive, or is not tied.
FoldPlan plan_of_site(const FoldSite& site, std::span<const float> s);

/// plan = plan * other, tensor by tensor. Errors: invalid_argument when sizes of a tensor differ.
void compose(FoldPlan* plan, const FoldPlan& other);

/// Factors of a tensor, or null when the plan leaves it alone.
const TensorScales* find_scales(const FoldPlan& plan, std::string_view tensor);

/// Errors: invalid_argument, naming tensor, found and expected: unknown tensor, factors that do not fit its shape or
/// are not finite and positive, columns of a vector.
void check_plan(const FoldPlan& plan, const GgufFile& gguf);

/// Multiplies rows [row_begin, row_begin + n_rows) of W, given as weights [n_rows, n_in]. A vector is one row per
/// element, n_in 1.
void apply_fold(const TensorScales& scales, float* weights, int64_t row_begin, int64_t n_rows, int64_t n_in) noexcept;

// Statistics of the inputs of W, given `columns` of its TensorScales; empty columns change nothing.

/// values[i] /= columns[i]^power: power 1 for mean |x| and max |x|, 2 for mean x^2 (importance).
void fold_statistic(std::span<const float> columns, int power, std::span<float> values) noexcept;

/// H[i][j] /= columns[i] * columns[j]; h [n, n].
void fold_second_moment(std::span<const float> columns, float* h) noexcept;

/// x[t][i] /= columns[i]; x [n_rows, n].
void fold_inputs(std::span<const float> columns, float* x, int64_t n_rows) noexcept;

}  // namespace thimble
