// Curves as pictures.
#pragma once

#include <string>
#include <vector>

namespace rondo {

struct PlotPoint {
  double x, y;
  std::string label;  // its tooltip; may be empty
};

struct PlotLine {
  std::string name;
  std::vector<PlotPoint> points;  // joined in this order
};

struct PlotOptions {
  std::string x_axis, y_axis;  // what they show, with the unit
  bool logarithmic_y = false;  // values <= 0 are left out
  bool whole_x = false;        // x counts something: ticks at whole numbers
  bool markers = true;         // a dot with a tooltip at every point; false suits dense curves
};

// A self-contained SVG with axes, ticks, a legend when there are several lines, and markers. Points
// that are not finite are left out. Throws without any point.
std::string LinePlotSvg(const std::string& title, const std::vector<PlotLine>& lines,
                        const PlotOptions& options);

}  // namespace rondo
