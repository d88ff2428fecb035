// Outlier channels of a calibration: how much of each input's energy (sum of mean squares) lies in its few largest
// channels, and whether these are the same from layer to layer (LLM.int8(), arXiv 2208.07339; massive activations,
// arXiv 2402.17762). Persistent ones are what folds and outlier branches are for.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/json.h"
#include "calibrate/calibration.h"

namespace thimble {

struct InputOutliers {
  std::string name;    // "blk.3.ffn_down"
  std::string kind;    // "ffn_down"
  int64_t layer = -1;  // -1: no layer's
  int64_t n_in = 0;
  int64_t n_top_permille = 0;  // channels that are 0.1 % of n_in, at least one
  int64_t n_top_percent = 0;   // 1 %, at least one
  double share_permille = 0;   // of the energy, in 0..1
  double share_percent = 0;
  double largest_to_median = 0;  // of mean squares; 0 when the median is 0
  // Share of the top 1 % that is in the top 1 % of the same kind of input one layer before too; -1: no such layer. By
  // chance it would be 1 %.
  double persistence = -1;
  std::vector<int32_t> top_percent;  // channels, largest first
  std::vector<float> mean_square;    // [n_in]
};

/// A channel and in how many layers it is among the top 1 %.
struct PersistentChannel {
  int64_t channel;
  int64_t n_layers;
};

struct OutlierKind {
  std::string kind;
  int64_t n_layers = 0;
  std::vector<PersistentChannel> channels;  // the 8 most frequent that are so in more than one layer
};

struct OutlierReport {
  CalibrationInfo info;
  std::string source;
  std::vector<InputOutliers> inputs;  // in the order of the layers
  std::vector<OutlierKind> kinds;     // in order of first appearance
};

OutlierReport find_outliers(const Calibration& calibration);

/// Tables for a terminal.
std::string outlier_text(const OutlierReport& report);
/// One page without scripts or references: tables, and for each kind of input a heat map of channels (x) by layers (y).
std::string outlier_html(const OutlierReport& report);
Json outlier_json(const OutlierReport& report);

}  // namespace thimble
