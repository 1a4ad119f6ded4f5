// Which layers a shared tensor is made from (Bae et al. 2025, section 2.2, for every tie map).
#pragma once

#include <vector>

#include "rondo/fold.h"

namespace rondo {

// Depths tied to each block: [K][uses], ascending.
std::vector<std::vector<int>> DepthsOfBlocks(const std::vector<int>& blocks);

// [K] the depths whose mean becomes the block: all tied ones for kAverage, one for kStepwise,
// kLower and kUpper as InitKind says, none for kRandom. A block that one depth uses is made from
// that depth whatever `init` is, and takes no part in the choice for the others.
std::vector<std::vector<int>> SourceDepths(const std::vector<int>& blocks, InitKind init);

}  // namespace rondo
