#include "calibrate/outliers.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <numeric>
#include <set>

#include <fmt/format.h>

#include "base/utf8.h"

namespace thimble {

namespace {

constexpr size_t kPersistentShown = 8;

// "blk.3.ffn_down" -> 3 and "ffn_down"; other names are kinds of their own.
void split_name(InputOutliers* input) {
  constexpr std::string_view kPrefix = "blk.";
  input->kind = input->name;
  if (!input->name.starts_with(kPrefix)) return;
  int64_t layer = 0;
  const char* const begin = input->name.data() + kPrefix.size();
  const char* const end = input->name.data() + input->name.size();
  const auto [stop, error] = std::from_chars(begin, end, layer);
  if (error != std::errc() || stop == end || *stop != '.') return;
  input->layer = layer;
  input->kind = std::string(stop + 1, end);
}

InputOutliers measure(const std::string& name, const InputStatistics& statistics) {
  InputOutliers input;
  input.name = name;
  split_name(&input);
  input.n_in = statistics.n_in;
  input.mean_square.assign(statistics.mean_square.begin(), statistics.mean_square.begin() + statistics.n_in);
  input.n_top_permille = std::max<int64_t>(1, statistics.n_in / 1000);
  input.n_top_percent = std::max<int64_t>(1, statistics.n_in / 100);
  const std::vector<float>& energy = input.mean_square;
  std::vector<int32_t> order(energy.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
    return energy[static_cast<size_t>(a)] > energy[static_cast<size_t>(b)];
  });
  double total = 0;
  for (const float e : energy) total += static_cast<double>(e);
  double sum = 0;
  for (int64_t i = 0; i < input.n_top_percent; ++i) {
    sum += static_cast<double>(energy[static_cast<size_t>(order[static_cast<size_t>(i)])]);
    if (i + 1 == input.n_top_permille) input.share_permille = total > 0 ? sum / total : 0;
  }
  input.share_percent = total > 0 ? sum / total : 0;
  const auto median = static_cast<double>(energy[static_cast<size_t>(order[order.size() / 2])]);
  const auto largest = static_cast<double>(energy[static_cast<size_t>(order[0])]);
  input.largest_to_median = median > 0 ? largest / median : 0;
  order.resize(static_cast<size_t>(input.n_top_percent));
  input.top_percent = std::move(order);
  return input;
}

double overlap(const InputOutliers& input, const InputOutliers& before) {
  const std::set<int32_t> old(before.top_percent.begin(), before.top_percent.end());
  const auto n = std::count_if(input.top_percent.begin(), input.top_percent.end(),
                               [&](int32_t channel) { return old.count(channel) > 0; });
  return static_cast<double>(n) / static_cast<double>(input.top_percent.size());
}

OutlierKind persistent_channels(const std::string& kind, const std::vector<InputOutliers>& inputs) {
  OutlierKind out;
  out.kind = kind;
  std::map<int32_t, int64_t> counts;
  for (const InputOutliers& input : inputs) {
    if (input.kind != kind) continue;
    ++out.n_layers;
    for (const int32_t channel : input.top_percent) ++counts[channel];
  }
  for (const auto& [channel, n] : counts) {
    if (n > 1) out.channels.push_back({channel, n});
  }
  std::stable_sort(out.channels.begin(), out.channels.end(),
                   [](const auto& a, const auto& b) { return a.n_layers > b.n_layers; });
  out.channels.resize(std::min(out.channels.size(), kPersistentShown));
  return out;
}

}  // namespace

OutlierReport find_outliers(const Calibration& calibration) {
  OutlierReport report;
  report.info = calibration.info();
  report.source = calibration.source();
  std::map<std::string, const InputOutliers*> last;  // of each kind
  const std::vector<std::string> names = calibration.inputs();
  report.inputs.reserve(names.size());  // `last` points into it
  for (const std::string& name : names) {
    InputOutliers& input = report.inputs.emplace_back(measure(name, *calibration.find(name)));
    const InputOutliers*& before = last[input.kind];
    if (before == nullptr) report.kinds.push_back({input.kind, 0, {}});
    if (before != nullptr && before->n_in == input.n_in) input.persistence = overlap(input, *before);
    before = &input;
  }
  for (OutlierKind& kind : report.kinds) kind = persistent_channels(kind.kind, report.inputs);
  return report;
}

std::string outlier_text(const OutlierReport& report) {
  std::string text = fmt::format("{}: {} tokens; {}\n\n", printable(report.source), report.info.n_tokens,
                                 printable(report.info.data, 1000));
  text +=
      "Share of the energy of an input in its largest channels, and how many of the top 1 % are so one layer before "
      "too\n\n";
  text += fmt::format("{:<24} {:>8} {:>9} {:>9} {:>14} {:>11}\n", "input", "channels", "top 0.1 %", "top 1 %",
                      "largest/median", "persistence");
  for (const InputOutliers& input : report.inputs) {
    const std::string persistence = input.persistence < 0 ? "" : fmt::format("{:.0f} %", 100 * input.persistence);
    text += fmt::format("{:<24} {:>8} {:>7.1f} % {:>7.1f} % {:>14.1f} {:>11}\n", printable(input.name), input.n_in,
                        100 * input.share_permille, 100 * input.share_percent, input.largest_to_median, persistence);
  }
  text += "\nChannels that are in the top 1 % of several layers (channel: layers)\n\n";
  for (const OutlierKind& kind : report.kinds) {
    if (kind.n_layers < 2) continue;
    text += fmt::format("{:<24}", printable(kind.kind));
    for (const PersistentChannel& c : kind.channels)
      text += fmt::format(" {}: {}/{} ", c.channel, c.n_layers, kind.n_layers);
    text += kind.channels.empty() ? " none\n" : "\n";
  }
  return text;
}

Json outlier_json(const OutlierReport& report) {
  Json inputs = Json::array();
  for (const InputOutliers& input : report.inputs) {
    inputs.push_back({{"input", input.name},
                      {"channels", input.n_in},
                      {"top_permille_channels", input.n_top_permille},
                      {"top_permille_share", input.share_permille},
                      {"top_percent_channels", input.n_top_percent},
                      {"top_percent_share", input.share_percent},
                      {"largest_to_median", input.largest_to_median},
                      {"persistence", input.persistence < 0 ? Json() : Json(input.persistence)},
                      {"top_percent", input.top_percent}});
  }
  Json kinds = Json::array();
  for (const OutlierKind& kind : report.kinds) {
    Json channels = Json::array();
    for (const PersistentChannel& c : kind.channels)
      channels.push_back({{"channel", c.channel}, {"layers", c.n_layers}});
    kinds.push_back({{"kind", kind.kind}, {"layers", kind.n_layers}, {"persistent", std::move(channels)}});
  }
  return {{"calibration", report.source},
          {"data", report.info.data},
          {"tokens", report.info.n_tokens},
          {"inputs", std::move(inputs)},
          {"kinds", std::move(kinds)}};
}

}  // namespace thimble
