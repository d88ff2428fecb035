// Geometry and drawing of a scatter plot. Label placement is greedy: with a dozen points that is enough.
#include "squeeze/svg_plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "squeeze/html_text.h"

namespace thimble {

namespace {

constexpr double kLeft = 58, kRight = 16, kTop = 14, kBottom = 44;
constexpr double kCharWidth = 6.6, kLabelHeight = 13;  // of the 12 px label font

struct Axis {
  double low = 0, high = 1;
  double from = 0, to = 1;  // pixels
  bool log = false;
  double operator()(double v) const noexcept {
    const double share =
        log ? (std::log(v) - std::log(low)) / (std::log(high) - std::log(low)) : (v - low) / (high - low);
    return from + share * (to - from);
  }
};

struct Box {
  double x0, y0, x1, y1;
  bool overlaps(const Box& o) const noexcept { return x0 < o.x1 && o.x0 < x1 && y0 < o.y1 && o.y0 < y1; }
};

bool can_be_drawn(const PlotPoint& p, const Plot& plot) noexcept {
  return std::isfinite(p.x) && std::isfinite(p.y) && (!plot.log_x || p.x > 0) && (!plot.log_y || p.y > 0);
}

// Range of the data with air around it; a single value gets a range of its own.
Axis make_axis(double low, double high, bool log, double from, double to) {
  Axis axis{low, high, from, to, log};
  if (log) {
    axis.low = low / 1.6;
    axis.high = high * 1.6;
    return axis;
  }
  const double air = high > low ? 0.06 * (high - low) : std::max(1e-3, 0.05 * std::abs(high));
  axis.low = low - air;
  axis.high = high + air;
  return axis;
}

std::string tick_text(double v) {
  if (v != 0 && (std::abs(v) >= 1e5 || std::abs(v) < 1e-3)) return fmt::format("{:.0e}", v);
  return fmt::format("{:.4g}", v);
}

std::vector<double> axis_ticks(const Axis& axis, int wanted) {
  std::vector<double> out;
  if (!axis.log) {
    for (const double t : ticks(axis.low, axis.high, wanted)) {
      if (t >= axis.low && t <= axis.high) out.push_back(t);
    }
    return out;
  }
  const bool wide = axis.high / axis.low > 300;
  for (double decade = std::pow(10.0, std::floor(std::log10(axis.low))); decade <= axis.high; decade *= 10) {
    for (const double m : {1.0, 2.0, 5.0}) {
      if ((m == 1.0 || !wide) && decade * m >= axis.low && decade * m <= axis.high) out.push_back(decade * m);
    }
  }
  return out;
}

class Drawing {
 public:
  Drawing(const Plot& plot, int width, int height) : plot_(plot), width_(width), height_(height) {
    for (const PlotPoint& p : plot.points) {
      if (can_be_drawn(p, plot)) points_.push_back(&p);
    }
  }

  std::string draw() {
    if (points_.empty()) return "";
    make_axes();
    out_ = fmt::format("<svg class=\"plot\" viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{}\">\n<title>{}</title>\n",
                       width_, height_, html_escape(plot_.title), html_escape(plot_.title));
    draw_axes();
    draw_lines();
    for (const PlotPoint* p : points_) draw_point(*p);
    draw_labels();
    out_ += "</svg>\n";
    return out_;
  }

 private:
  void make_axes() {
    double x_low = points_[0]->x, x_high = x_low, y_low = points_[0]->y, y_high = y_low;
    const auto take_y = [&](double y) {
      if (!std::isfinite(y) || (plot_.log_y && y <= 0)) return;
      y_low = std::min(y_low, y);
      y_high = std::max(y_high, y);
    };
    for (const PlotPoint* p : points_) {
      x_low = std::min(x_low, p->x);
      x_high = std::max(x_high, p->x);
      take_y(p->y);
      take_y(p->low.value_or(p->y));
      take_y(p->high.value_or(p->y));
    }
    for (const PlotLine& l : plot_.lines) take_y(l.y);
    x_ = make_axis(x_low, x_high, plot_.log_x, kLeft, width_ - kRight);
    y_ = make_axis(y_low, y_high, plot_.log_y, height_ - kBottom, kTop);
  }

  void text(double x, double y, std::string_view css, std::string_view anchor, std::string_view content) {
    out_ += fmt::format("<text class=\"{}\" x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\">{}</text>\n", css, x, y,
                        anchor, html_escape(content));
  }

  void line(double x1, double y1, double x2, double y2, std::string_view css) {
    out_ += fmt::format("<line class=\"{}\" x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\"/>\n", css, x1, y1,
                        x2, y2);
  }

  void draw_axes() {
    const double bottom = height_ - kBottom, right = width_ - kRight;
    for (const double t : axis_ticks(y_, height_ / 55)) {
      line(kLeft, y_(t), right, y_(t), "grid");
      text(kLeft - 7, y_(t) + 4, "tick", "end", tick_text(t));
    }
    for (const double t : axis_ticks(x_, width_ / 75)) {
      line(x_(t), bottom, x_(t), bottom + 5, "axis");
      text(x_(t), bottom + 18, "tick", "middle", tick_text(t));
    }
    line(kLeft, bottom, right, bottom, "axis");
    text((kLeft + right) / 2, height_ - 6, "axis-label", "middle", plot_.x_label);
    out_ += fmt::format(
        "<text class=\"axis-label\" transform=\"translate(13 {:.1f}) rotate(-90)\" text-anchor=\"middle\">{}</text>\n",
        (kTop + bottom) / 2, html_escape(plot_.y_label));
  }

  void draw_lines() {
    for (const PlotLine& l : plot_.lines) line(kLeft, y_(l.y), width_ - kRight, y_(l.y), "line");
  }

  // At the right end where there is room, above or below the line.
  void label_line(const PlotLine& l) {
    const double w = static_cast<double>(l.label.size()) * kCharWidth;
    const double y = y_(l.y);
    for (double right = width_ - kRight; right - w > kLeft; right -= 20) {
      for (const double top : {y + 3, y - 3 - kLabelHeight}) {
        const Box b{right - w, top, right, top + kLabelHeight};
        if (!is_free(b)) continue;
        text(b.x1, b.y1 - 2, "label line-label", "end", l.label);
        taken_.push_back(b);
        return;
      }
    }
  }

  void draw_point(const PlotPoint& p) {
    const double x = x_(p.x), y = y_(p.y);
    out_ += fmt::format("<g class=\"{}\"><title>{}</title>\n", html_escape(p.css_class), html_escape(p.tooltip));
    if (p.low && p.high && *p.high > *p.low) {
      line(x, y_(*p.low), x, y_(*p.high), "whisker");
      line(x - 4, y_(*p.low), x + 4, y_(*p.low), "whisker");
      line(x - 4, y_(*p.high), x + 4, y_(*p.high), "whisker");
      taken_.push_back({x - 4, y_(*p.high), x + 4, y_(*p.low)});
    }
    out_ += fmt::format("<circle class=\"dot\" cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"5\"/></g>\n", x, y);
    taken_.push_back({x - 6, y - 6, x + 6, y + 6});
  }

  bool is_free(const Box& b) const {
    if (b.x0 < kLeft || b.x1 > width_ - 2 || b.y0 < 0 || b.y1 > height_ - kBottom) return false;
    return std::none_of(taken_.begin(), taken_.end(), [&](const Box& t) { return t.overlaps(b); });
  }

  // The first free place around the point, near ones first; a label without one is left to the tooltip and the table.
  void draw_label(const PlotPoint& p) {
    const double x = x_(p.x), y = y_(p.y);
    const double w = static_cast<double>(p.label.size()) * kCharWidth;
    for (double far = 0; far < 9; ++far) {
      const double d = 9 + far * (kLabelHeight + 2);
      const Box places[] = {{x - w / 2, y + d, x + w / 2, y + d + kLabelHeight},
                            {x - w / 2, y - d - kLabelHeight, x + w / 2, y - d},
                            {x + 10, y + d - 9 - kLabelHeight / 2, x + 10 + w, y + d - 9 + kLabelHeight / 2},
                            {x - 10 - w, y + d - 9 - kLabelHeight / 2, x - 10, y + d - 9 + kLabelHeight / 2},
                            {x - 4, y + d, x - 4 + w, y + d + kLabelHeight},
                            {x + 4 - w, y + d, x + 4, y + d + kLabelHeight}};
      for (const Box& b : places) {
        if (!is_free(b)) continue;
        if (far > 0) line(x, y + (b.y0 > y ? 6 : -6), x, b.y0 > y ? b.y0 : b.y1, "leader");
        text((b.x0 + b.x1) / 2, b.y1 - 2, "label " + p.css_class, "middle", p.label);
        taken_.push_back(b);
        return;
      }
    }
  }

  // The picked point first: its label must not be the one that finds no place.
  void draw_labels() {
    std::stable_sort(points_.begin(), points_.end(), [](const PlotPoint* a, const PlotPoint* b) {
      return (a->css_class == "picked") > (b->css_class == "picked");
    });
    for (const PlotPoint* p : points_) draw_label(*p);
    for (const PlotLine& l : plot_.lines) label_line(l);
  }

  const Plot& plot_;
  double width_, height_;
  std::vector<const PlotPoint*> points_;
  Axis x_, y_;
  std::vector<Box> taken_;
  std::string out_;
};

}  // namespace

std::vector<double> ticks(double low, double high, int wanted) {
  std::vector<double> out;
  if (!(high > low) || wanted < 1 || !std::isfinite(low) || !std::isfinite(high)) return out;
  const double raw = (high - low) / wanted;
  const double power = std::pow(10.0, std::floor(std::log10(raw)));
  const double m = raw / power;
  const double step = power * (m <= 1 ? 1 : m <= 2 ? 2 : m <= 5 ? 5 : 10);
  for (double i = std::floor(low / step); i <= std::ceil(high / step); ++i) out.push_back(i * step);
  return out;
}

std::string svg_plot(const Plot& plot, int width, int height) {
  return Drawing(plot, width, height).draw();
}

}  // namespace thimble
