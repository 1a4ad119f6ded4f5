// Matrices as pictures.
#pragma once

#include <span>
#include <string>
#include <vector>

namespace rondo {

struct HeatmapOptions {
  std::string row_axis;      // name of the rows, written beside them
  std::string column_axis;   // name of the columns, written below them
  bool logarithmic = false;  // colours by log; values <= 0 count as the smallest positive one
};

// A self-contained SVG of values [rows, columns], with labels, a colour scale, and the value of
// each cell as its tooltip. NaN cells stay empty. Text is escaped. Throws when sizes disagree.
std::string HeatmapSvg(const std::string& title, const std::vector<std::string>& row_labels,
                       const std::vector<std::string>& column_labels,
                       std::span<const double> values, const HeatmapOptions& options = {});

}  // namespace rondo
