// The outlier report as a page. A heat map has a row of cells per layer; a cell is the largest channel of a group of
// neighbouring ones, coloured by the decades of its mean square above the median channel of that input: outliers that
// persist are vertical lines.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>

#include "base/utf8.h"
#include "calibrate/outliers.h"

namespace thimble {

namespace {

constexpr int64_t kMaxCells = 240;  // across; more channels share cells
constexpr int64_t kLeft = 46, kTop = 6, kBottom = 30, kMapWidth = 860;

// Colours of half decades from "at most the median" upwards; a sequence whose lightness falls evenly, so that it also
// reads in grey.
constexpr std::array<std::string_view, 9> kColours = {"#f7f5ef", "#fdebc8", "#fdd49e", "#fdbb84", "#fc8d59",
                                                      "#ef6548", "#d7301f", "#a30d0d", "#5c0011"};

std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : printable(text, text.size() * 4 + 4)) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

size_t colour_of(float mean_square, float median) {
  if (!(mean_square > median) || median <= 0.0f) return mean_square > median ? kColours.size() - 1 : 0;
  const double half_decades = 2.0 * std::log10(static_cast<double>(mean_square) / static_cast<double>(median));
  return std::min(static_cast<size_t>(half_decades), kColours.size() - 1);
}

float median_of(std::vector<float> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

// Colour of each cell of one input.
std::vector<size_t> cells_of(const InputOutliers& input, int64_t n_cells) {
  const float median = median_of(input.mean_square);
  std::vector<size_t> cells;
  for (int64_t c = 0; c < n_cells; ++c) {
    const auto begin = input.mean_square.begin() + c * input.n_in / n_cells;
    const auto end = input.mean_square.begin() + (c + 1) * input.n_in / n_cells;
    cells.push_back(colour_of(*std::max_element(begin, end), median));
  }
  return cells;
}

// Runs of one colour are one piece of that colour's path: thousands of rectangles would make pages of megabytes.
void add_row(const std::vector<size_t>& cells, int64_t row, std::array<std::string, kColours.size()>* paths) {
  for (size_t c = 0; c < cells.size();) {
    size_t end = c;
    while (end < cells.size() && cells[end] == cells[c]) ++end;
    if (cells[c] > 0) {
      (*paths)[cells[c]] += fmt::format("M{} {}h{}v1h-{}z", c, row, end - c, end - c);
    }
    c = end;
  }
}

std::string heat_map(const OutlierReport& report, const std::string& kind) {
  std::array<std::string, kColours.size()> paths;
  std::vector<int64_t> layers;
  int64_t n_in = 0;
  for (const InputOutliers& input : report.inputs) {
    if (input.kind == kind) n_in = std::max(n_in, input.n_in);
  }
  const int64_t n_cells = std::min(n_in, kMaxCells);
  for (const InputOutliers& input : report.inputs) {
    if (input.kind != kind || input.n_in < n_cells) continue;
    add_row(cells_of(input, n_cells), static_cast<int64_t>(layers.size()), &paths);
    layers.push_back(input.layer);
  }
  const auto n_rows = static_cast<int64_t>(layers.size());
  const int64_t cell_height = n_rows < 12 ? 16 : 9;
  const int64_t height = n_rows * cell_height;
  std::string svg =
      fmt::format("<svg viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"Energy of the channels of {} by layer\">\n",
                  kLeft + kMapWidth + 10, kTop + height + kBottom, escaped(kind));
  svg += fmt::format("<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" fill=\"{}\" stroke=\"#999\"/>\n", kLeft, kTop,
                     kMapWidth, height, kColours[0]);
  svg += fmt::format("<g transform=\"translate({} {}) scale({:.5f} {})\" shape-rendering=\"crispEdges\">\n", kLeft,
                     kTop, static_cast<double>(kMapWidth) / static_cast<double>(n_cells), cell_height);
  for (size_t i = 1; i < paths.size(); ++i) {
    if (!paths[i].empty()) svg += fmt::format("<path fill=\"{}\" d=\"{}\"/>\n", kColours[i], paths[i]);
  }
  svg += "</g>\n";
  const int64_t step = std::max<int64_t>(1, (n_rows + 11) / 12);
  for (int64_t r = 0; r < n_rows; r += step) {
    svg += fmt::format("<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>\n", kLeft - 6,
                       kTop + r * cell_height + cell_height - 1, layers[static_cast<size_t>(r)]);
  }
  for (int64_t tick = 0; tick <= 4; ++tick) {
    svg += fmt::format("<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>\n", kLeft + kMapWidth * tick / 4,
                       kTop + height + 14, n_in * tick / 4);
  }
  svg += fmt::format("<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">channel (rows: layers)</text>\n</svg>\n",
                     kLeft + kMapWidth / 2, kTop + height + 27);
  return svg;
}

std::string legend() {
  std::string html = "<p class=\"legend\">mean square of a channel over the median channel of its input: ";
  for (size_t i = 0; i < kColours.size(); ++i) {
    const double factor = std::pow(10.0, static_cast<double>(i) / 2.0);
    const std::string label =
        i == 0 ? "below 3" : fmt::format("{}{:.0f}", i + 1 == kColours.size() ? "≥ " : "", factor);
    html += fmt::format("<span><i style=\"background:{}\"></i>{}</span> ", kColours[i], label);
  }
  return html + "</p>\n";
}

// Shares as bars behind the numbers, so that a long table can be read at a glance.
std::string share_cell(double share) {
  return fmt::format(
      "<td style=\"background:linear-gradient(to right,#fdd49e {0:.1f}%,transparent {0:.1f}%)\">{0:.1f} %</td>",
      100 * share);
}

std::string table(const OutlierReport& report) {
  std::string html =
      "<table><thead><tr><th>input</th><th>channels</th><th>top 0.1 %</th><th>top 1 %</th><th>largest / median</th>"
      "<th>persistence</th></tr></thead><tbody>\n";
  for (const InputOutliers& input : report.inputs) {
    html += fmt::format("<tr><th>{}</th><td>{}</td>{}{}<td>{:.1f}</td>{}</tr>\n", escaped(input.name), input.n_in,
                        share_cell(input.share_permille), share_cell(input.share_percent), input.largest_to_median,
                        input.persistence < 0 ? "<td></td>" : share_cell(input.persistence));
  }
  return html + "</tbody></table>\n";
}

std::string persistent_list(const OutlierKind& kind) {
  if (kind.channels.empty()) return "<p>No channel is in the top 1 % of two layers.</p>\n";
  std::string html = "<p>Channels in the top 1 % of several layers: ";
  for (size_t i = 0; i < kind.channels.size(); ++i) {
    html += fmt::format("{}{} ({} of {})", i > 0 ? ", " : "", kind.channels[i].channel, kind.channels[i].n_layers,
                        kind.n_layers);
  }
  return html + ".</p>\n";
}

constexpr std::string_view kStyle =
    "body{font:15px/1.5 system-ui,sans-serif;max-width:960px;margin:2em auto;padding:0 1em;color:#222;background:#fff}"
    "h1{font-size:1.5em}h2{font-size:1.15em;margin-top:2em}svg{width:100%;height:auto}svg "
    "text{font-size:10px;fill:#444}"
    "table{border-collapse:collapse;font-variant-numeric:tabular-nums}td,th{padding:.15em .7em;text-align:right;"
    "border-bottom:1px solid #e5e2da}th:first-child{text-align:left;font-weight:500}thead th{font-weight:600}"
    ".legend i{display:inline-block;width:1.1em;height:.8em;border:1px solid #999;margin:0 .25em 0 .5em}"
    ".legend span{white-space:nowrap}";

}  // namespace

std::string outlier_html(const OutlierReport& report) {
  std::string html = fmt::format(
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Outlier channels of {0}</title>\n"
      "<style>{1}</style></head><body>\n<h1>Outlier channels of {0}</h1>\n<p>{2} tokens. {3}.</p>\n",
      escaped(report.info.model_name), kStyle, report.info.n_tokens, escaped(report.info.data));
  html +=
      "<p>Energy of a channel is its mean square over all tokens. The table gives the share of an input's energy in "
      "its "
      "largest 0.1 % and 1 % of channels (one channel at least), the largest channel over the median one, and how many "
      "of the top 1 % are in the top 1 % of the same input one layer before (1 % by chance).</p>\n";
  html += legend();
  for (const OutlierKind& kind : report.kinds) {
    if (kind.n_layers < 2) continue;
    html += fmt::format("<h2>{}</h2>\n", escaped(kind.kind)) + heat_map(report, kind.kind) + persistent_list(kind);
  }
  return html + "<h2>All inputs</h2>\n" + table(report) + "</body></html>\n";
}

}  // namespace thimble
