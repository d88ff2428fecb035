// A scatter plot as inline SVG: points with optional intervals, reference lines, labels that avoid each other. Colours
// come from classes (dot, whisker, grid, axis, tick, line, leader, label and the class of each point), so the page's
// style sheet serves light and dark.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace thimble {

struct PlotPoint {
  double x = 0, y = 0;
  std::optional<double> low, high;  // vertical interval
  std::string label;                // plain text; escaped here
  std::string tooltip;              // plain text
  std::string css_class;
};

struct PlotLine {
  double y = 0;
  std::string label;
};

struct Plot {
  std::string title;  // for readers that do not see the picture
  std::string x_label, y_label;
  bool log_x = false, log_y = false;  // points that are not above 0 are left out
  std::vector<PlotPoint> points;
  std::vector<PlotLine> lines;
};

/// SVG element of the given size in CSS pixels, without outer files or scripts. Points that are not finite are left
/// out;
/// "" when none is left.
std::string svg_plot(const Plot& plot, int width, int height);

/// Rounded tick positions (1, 2 or 5 times a power of ten) that cover [low, high], about `wanted` of them.
std::vector<double> ticks(double low, double high, int wanted);

}  // namespace thimble
