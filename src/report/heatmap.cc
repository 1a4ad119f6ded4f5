#include "report/heatmap.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <limits>

#include "report/svg.h"
#include "rondo/error.h"

namespace rondo {
namespace {

constexpr int kCell = 18, kLeft = 64, kTop = 44, kBottom = 46, kLegend = 96, kBarWidth = 14;
constexpr int kBarSteps = 64;
constexpr size_t kTicks = 5;

// Light to dark, readable without colour vision; steps of the viridis palette (CC0), reversed.
constexpr std::array<std::array<int, 3>, 6> kPalette = {
    {{253, 231, 37}, {122, 209, 81}, {34, 168, 132}, {42, 120, 142}, {65, 68, 135}, {68, 1, 84}}};

std::string Color(double share) {
  const double at = std::clamp(share, 0.0, 1.0) * static_cast<double>(kPalette.size() - 1);
  const auto low = std::min(static_cast<size_t>(at), kPalette.size() - 2);
  std::string color = "#";
  for (size_t c = 0; c < 3; ++c) {
    const double value = kPalette[low][c] + (at - static_cast<double>(low)) *
                                                (kPalette[low + 1][c] - kPalette[low][c]);
    std::array<char, 3> hex{};
    std::snprintf(hex.data(), hex.size(), "%02x", static_cast<unsigned>(std::lround(value)) & 0xff);
    color += hex.data();
  }
  return color;
}

// From values to shares of the colour scale and back.
class ColorScale {
 public:
  ColorScale(std::span<const double> values, bool logarithmic) : logarithmic_(logarithmic) {
    constexpr double kInfinity = std::numeric_limits<double>::infinity();
    low_ = kInfinity;
    high_ = -kInfinity;
    for (const double value : values) {
      if (!std::isfinite(value) || (logarithmic && value <= 0)) continue;
      low_ = std::min(low_, value);
      high_ = std::max(high_, value);
    }
    if (low_ > high_) low_ = high_ = logarithmic ? 1 : 0;
  }

  double Share(double value) const {
    if (high_ == low_) return 0;
    const double clipped = std::clamp(value, low_, high_);
    return (Map(clipped) - Map(low_)) / (Map(high_) - Map(low_));
  }
  double Value(double share) const {
    const double mapped = Map(low_) + share * (Map(high_) - Map(low_));
    return logarithmic_ ? std::exp(mapped) : mapped;
  }

 private:
  double Map(double value) const { return logarithmic_ ? std::log(value) : value; }
  bool logarithmic_;
  double low_, high_;
};

std::string Cells(const std::vector<std::string>& rows, const std::vector<std::string>& columns,
                  std::span<const double> values, const ColorScale& scale) {
  std::string out;
  for (size_t r = 0; r < rows.size(); ++r) {
    for (size_t c = 0; c < columns.size(); ++c) {
      const double value = values[r * columns.size() + c];
      if (std::isnan(value)) continue;
      out += svg::Rect(kLeft + static_cast<int>(c) * kCell, kTop + static_cast<int>(r) * kCell,
                       kCell - 1, kCell - 1, Color(scale.Share(value)),
                       rows[r] + ", " + columns[c] + ": " + svg::Format("%.4g", value));
    }
  }
  return out;
}

std::string Legend(int x, int height, const ColorScale& scale) {
  std::string out;
  for (int step = 0; step < kBarSteps; ++step) {
    const int y = height * step / kBarSteps, next = height * (step + 1) / kBarSteps;
    if (next == y) continue;
    out += svg::Rect(x, kTop + y, kBarWidth, next - y, Color(1 - (step + 0.5) / kBarSteps), {});
  }
  for (size_t tick = 0; tick < kTicks; ++tick) {
    const double share = static_cast<double>(tick) / (kTicks - 1);
    const int y = kTop + static_cast<int>(std::lround((1 - share) * (height - 1)));
    out += svg::Text(x + kBarWidth + 5, y + 4, "start", svg::Format("%.3g", scale.Value(share)));
  }
  return out;
}

}  // namespace

std::string HeatmapSvg(const std::string& title, const std::vector<std::string>& row_labels,
                       const std::vector<std::string>& column_labels,
                       std::span<const double> values, const HeatmapOptions& options) {
  if (values.size() != row_labels.size() * column_labels.size()) {
    throw Error({.function = "HeatmapSvg",
                 .problem = std::to_string(values.size()) + " values",
                 .expected = "one for each of " + std::to_string(row_labels.size()) + " x " +
                             std::to_string(column_labels.size()) + " cells"});
  }
  const int plot_width = kCell * static_cast<int>(column_labels.size());
  const int plot_height = kCell * static_cast<int>(row_labels.size());
  const int title_width = 16 + 8 * static_cast<int>(title.size());
  const int width = std::max(kLeft + plot_width + kLegend, title_width);
  const int height = kTop + plot_height + kBottom;
  const ColorScale scale(values, options.logarithmic);

  std::string picture = svg::Open(width, height, title);
  picture += Cells(row_labels, column_labels, values, scale);
  for (size_t r = 0; r < row_labels.size(); ++r) {
    picture += svg::Text(kLeft - 5, kTop + static_cast<int>(r) * kCell + 12, "end", row_labels[r]);
  }
  for (size_t c = 0; c < column_labels.size(); ++c) {
    picture += svg::Text(kLeft + static_cast<int>(c) * kCell + kCell / 2 - 1,
                         kTop + plot_height + 12, "middle", column_labels[c]);
  }
  const int middle_x = kLeft + plot_width / 2, middle_y = kTop + plot_height / 2;
  picture += svg::Text(middle_x, kTop + plot_height + 32, "middle", options.column_axis,
                       " font-size=\"12\"");
  picture +=
      svg::Text(16, middle_y, "middle", options.row_axis,
                " font-size=\"12\" transform=\"rotate(-90 16 " + std::to_string(middle_y) + ")\"");
  picture += Legend(kLeft + plot_width + 18, plot_height, scale);
  return picture + "</svg>\n";
}

}  // namespace rondo
