// Numbers and choices as the reports word them; plain text, escaped by the callers.
#pragma once

#include <string>
#include <vector>

#include "squeeze/squeeze.h"

namespace thimble {

/// "+1.5", "−0.4", "0.0" (a true minus sign).
std::string signed_points(double points);
/// "−3.5 to 0.0".
std::string interval_text(double low, double high);
/// "0.0123", "3.1e-05".
std::string kl_text(double nats);
/// "0.031", "< 0.001".
std::string p_text(double p);
/// "2 lost, 1 gained (p 1.00)", "none".
std::string flips_text(const Flips& flips);
/// "310 (51 now)", "enough (368 now)", "no realistic number".
std::string items_needed_text(const TaskComparison& comparison, size_t items);
/// "q4_k_m picked", "Cannot tell: q4_0 taken", "Nothing fits".
std::string verdict_title(const SqueezeResult& result);
/// "q4_k_m; *.attn_v.weight = q6_k; rounding best; 8 outlier channels".
std::string recipe_text(const Recipe& recipe);
/// "12 of 120".
std::string of_text(int64_t some, int64_t all);
/// Mean of a task's primary metric, in points.
double mean_points(const TaskResult& task) noexcept;

/// Indices of the candidates that were scored, smallest file first.
std::vector<size_t> scored_by_size(const SqueezeResult& result);
bool is_picked(const SqueezeResult& result, size_t candidate) noexcept;

}  // namespace thimble
