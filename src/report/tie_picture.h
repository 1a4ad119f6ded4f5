// Layers that tie themselves while training, as a picture.
#pragma once

#include <string>
#include <vector>

#include "report/run_data.h"

namespace rondo {

// One SVG for each unit that a run's decisions are about (whole layers, halves, linears): time runs
// to the right, each layer has a row, and colours say whose weights it uses. Layers that nothing
// was decided about are blank. Empty for runs without ties.
std::vector<std::string> TiePictures(const RunData& run);

}  // namespace rondo
