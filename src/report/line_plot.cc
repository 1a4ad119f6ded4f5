#include "report/line_plot.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <vector>

#include "base/strings.h"
#include "report/svg.h"
#include "rondo/error.h"

namespace rondo {
namespace {

constexpr int kWidth = 560, kHeight = 360, kLeft = 76, kTop = 44, kRight = 150, kBottom = 52;
constexpr int kTicks = 6;
// Okabe and Ito's colours, told apart without colour vision.
constexpr std::array<const char*, 6> kColors = {"#0072b2", "#d55e00", "#009e73",
                                                "#cc79a7", "#e69f00", "#56b4e9"};

// From values to pixels.
class Axis {
 public:
  Axis(int from, int to, bool logarithmic) : from_(from), to_(to), logarithmic_(logarithmic) {}

  bool Takes(double value) const { return std::isfinite(value) && (!logarithmic_ || value > 0); }
  void Include(double value) {
    low_ = std::min(low_, Map(value));
    high_ = std::max(high_, Map(value));
  }
  double Pixel(double value) const {
    const double share = high_ > low_ ? (Map(value) - low_) / (high_ - low_) : 0.5;
    return from_ + share * (to_ - from_);
  }
  std::vector<double> Ticks() const {
    std::vector<double> ticks;
    for (int i = 0; i < kTicks; ++i) {
      const double mapped = low_ + (high_ - low_) * i / (kTicks - 1);
      ticks.push_back(logarithmic_ ? std::exp(mapped) : mapped);
    }
    return ticks;
  }
  // Multiples of 1, 2 or 5 times a power of ten.
  std::vector<double> WholeTicks() const {
    double step = 1;
    for (int i = 0; (high_ - low_) / step > kTicks; ++i) step *= i % 3 == 1 ? 2.5 : 2;
    std::vector<double> ticks;
    for (double tick = std::ceil(low_ / step) * step; tick <= high_; tick += step) {
      ticks.push_back(tick);
    }
    return ticks;
  }

 private:
  double Map(double value) const { return logarithmic_ ? std::log(value) : value; }
  int from_, to_;
  bool logarithmic_;
  double low_ = std::numeric_limits<double>::infinity();
  double high_ = -std::numeric_limits<double>::infinity();
};

std::string Segment(double x1, double y1, double x2, double y2, const std::string& style) {
  return "<line x1=\"" + svg::Format("%.1f", x1) + "\" y1=\"" + svg::Format("%.1f", y1) +
         "\" x2=\"" + svg::Format("%.1f", x2) + "\" y2=\"" + svg::Format("%.1f", y2) + "\" " +
         style + "/>\n";
}

std::string Frame(const Axis& x, const Axis& y, const PlotOptions& options) {
  constexpr int kBase = kHeight - kBottom, kEnd = kWidth - kRight;
  std::string out;
  for (const double tick : y.Ticks()) {
    const double at = y.Pixel(tick);
    out += Segment(kLeft, at, kEnd, at, "stroke=\"#ddd\"");
    out += svg::Text(kLeft - 6, static_cast<int>(at) + 3, "end", svg::Format("%.4g", tick));
  }
  for (const double tick : options.whole_x ? x.WholeTicks() : x.Ticks()) {
    const std::string label =
        options.whole_x ? WithThousands(std::llround(tick)) : svg::Format("%.4g", tick);
    out += svg::Text(static_cast<int>(x.Pixel(tick)), kBase + 14, "middle", label);
  }
  out += Segment(kLeft, kBase, kEnd, kBase, "stroke=\"#222\"");
  out += Segment(kLeft, kTop, kLeft, kBase, "stroke=\"#222\"");
  out += svg::Text((kLeft + kEnd) / 2, kHeight - 16, "middle", options.x_axis, " font-size=\"12\"");
  const std::string middle = std::to_string((kTop + kBase) / 2);
  return out + svg::Text(16, (kTop + kBase) / 2, "middle", options.y_axis,
                         " font-size=\"12\" transform=\"rotate(-90 16 " + middle + ")\"");
}

std::string Marker(const PlotLine& line, const PlotPoint& point, double at_x, double at_y,
                   const std::string& color) {
  const std::string label = (point.label.empty() ? line.name : point.label) + ": " +
                            svg::Format("%.4g", point.x) + ", " + svg::Format("%.5g", point.y);
  return "<circle cx=\"" + svg::Format("%.1f", at_x) + "\" cy=\"" + svg::Format("%.1f", at_y) +
         "\" r=\"3\" fill=\"" + color + "\"><title>" + svg::Escape(label) + "</title></circle>\n";
}

std::string Line(const PlotLine& line, const Axis& x, const Axis& y, const std::string& color,
                 bool markers) {
  std::string path, dots;
  for (const PlotPoint& point : line.points) {
    if (!x.Takes(point.x) || !y.Takes(point.y)) continue;
    const double at_x = x.Pixel(point.x), at_y = y.Pixel(point.y);
    path += (path.empty() ? "" : " ") + svg::Format("%.1f", at_x) + "," + svg::Format("%.1f", at_y);
    if (markers) dots += Marker(line, point, at_x, at_y, color);
  }
  if (path.empty()) return {};
  return "<polyline fill=\"none\" stroke=\"" + color + "\" stroke-width=\"1.5\" points=\"" + path +
         "\"/>\n" + dots;
}

}  // namespace

std::string LinePlotSvg(const std::string& title, const std::vector<PlotLine>& lines,
                        const PlotOptions& options) {
  Axis x(kLeft, kWidth - kRight, false), y(kHeight - kBottom, kTop, options.logarithmic_y);
  bool any = false;
  for (const PlotLine& line : lines) {
    for (const PlotPoint& point : line.points) {
      if (!x.Takes(point.x) || !y.Takes(point.y)) continue;
      x.Include(point.x);
      y.Include(point.y);
      any = true;
    }
  }
  if (!any) {
    throw Error({.function = "LinePlotSvg",
                 .problem = "nothing to draw",
                 .expected = "at least one finite point",
                 .file = {},
                 .field = {}});
  }
  std::string picture = svg::Open(kWidth, kHeight, title) + Frame(x, y, options);
  for (size_t i = 0; i < lines.size(); ++i) {
    const std::string color = kColors[i % kColors.size()];
    picture += Line(lines[i], x, y, color, options.markers);
    if (lines.size() == 1) continue;
    const int at = kTop + 16 * static_cast<int>(i);
    picture += svg::Rect(kWidth - kRight + 14, at, 10, 10, color, {});
    picture += svg::Text(kWidth - kRight + 30, at + 9, "start", lines[i].name);
  }
  return picture + "</svg>\n";
}

}  // namespace rondo
