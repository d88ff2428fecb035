// Wording shared by report.html and report.md.
#include "squeeze/report_text.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/error.h"
#include "squeeze/report.h"

namespace thimble {

std::string signed_points(double v) {
  const std::string size = fmt::format("{:.1f}", std::abs(v));
  return size == "0.0" ? size : (v < 0 ? "−" : "+") + size;
}

std::string interval_text(double low, double high) {
  return low == high ? signed_points(low) : fmt::format("{} to {}", signed_points(low), signed_points(high));
}

std::string kl_text(double v) {
  return v >= 0.0001 ? fmt::format("{:.4f}", v) : fmt::format("{:.1e}", v);
}

std::string p_text(double p) {
  return p < 0.001 ? "< 0.001" : fmt::format("{:.3f}", p);
}

std::string flips_text(const Flips& f) {
  if (f.lost == 0 && f.gained == 0) return "none";
  return fmt::format("{} lost, {} gained (p {})", f.lost, f.gained, p_text(f.p));
}

std::string items_needed_text(const TaskComparison& c, size_t items) {
  if (!c.items_needed) return fmt::format("no realistic number ({} now)", items);
  if (*c.items_needed <= static_cast<int64_t>(items)) return fmt::format("enough ({} now)", items);
  return fmt::format("{} ({} now)", *c.items_needed, items);
}

std::string verdict_title(const SqueezeResult& r) {
  if (r.verdict == Verdict::nothing_fits || r.picked < 0) return "Nothing fits";
  const std::string& name = r.candidates[static_cast<size_t>(r.picked)].recipe.name;
  return r.verdict == Verdict::picked ? name + " picked" : "Cannot tell: " + name + " taken";
}

std::string recipe_text(const Recipe& recipe) {
  std::string out = recipe.scheme;
  for (const RecipeRule& r : recipe.rules) out += fmt::format("; {} = {}", r.match, traits(r.type).name);
  if (recipe.fold != FoldMethod::none) out += fmt::format("; fold {}", fold_method_name(recipe.fold));
  out += fmt::format("; rounding {}", rounding_method_name(recipe.rounding.method));
  if (recipe.outliers.channels > 0) out += fmt::format("; {} outlier channels", recipe.outliers.channels);
  if (recipe.outliers.channels == 0 && recipe.outliers.bits > 0) {
    out += fmt::format("; outliers for {} bits per weight", recipe.outliers.bits);
  }
  return out;
}

std::string of_text(int64_t some, int64_t all) {
  return fmt::format("{} of {}", some, all);
}

double mean_points(const TaskResult& task) noexcept {
  return 100.0 * task.mean(task.primary) / metric_scale(task.primary);
}

std::vector<size_t> scored_by_size(const SqueezeResult& r) {
  std::vector<size_t> order(r.candidates.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::erase_if(order, [&](size_t i) { return !r.candidates[i].excluded.empty(); });
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return r.candidates[a].file_bytes < r.candidates[b].file_bytes; });
  return order;
}

bool is_picked(const SqueezeResult& r, size_t i) noexcept {
  return r.picked >= 0 && static_cast<size_t>(r.picked) == i;
}

std::string reproduce_command(const SqueezeOptions& o) {
  const auto quoted = [](const std::string& text) {
    const bool plain = !text.empty() && text.find_first_not_of(
                                            "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                            "0123456789_./+-=:,@%") == std::string::npos;
    if (plain) return text;
    std::string out = "'";
    for (const char c : text) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
    return out + "'";
  };
  std::string out =
      fmt::format("thimble squeeze {} --device {} --tasks {}", quoted(o.model), quoted(o.device), quoted(o.tasks));
  if (!o.candidates.empty()) out += " --candidates " + quoted(o.candidates);
  for (const std::string& data : o.calibration_data) out += " --calibrate " + quoted(data);
  if (!o.calibration.empty()) out += " --calibration " + quoted(o.calibration);
  if (o.calibrate && o.calibration.empty() && o.calibration_samples != 256) {
    out += fmt::format(" --samples {}", o.calibration_samples);
  }
  if (!o.calibrate) out += " --no-calibration";
  if (!o.text.empty()) out += " --text " + quoted(o.text);
  if (o.kv == ops::KvType::int8) out += " --kv int8";
  if (o.context != 0) out += fmt::format(" --context {}", o.context);
  out += fmt::format(" --margin {} --confidence {} -o {}", o.margin, o.confidence, quoted(o.output));
  return out;
}

}  // namespace thimble
