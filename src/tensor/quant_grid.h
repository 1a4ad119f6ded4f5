// The numbers a quantised block can stand for, and blocks put together from grid and codes.
//
//   value[i] = scale[g] · code[i] + offset[g],   g = i / group_length
//
// Two ways lead to a block: EncodeBlocks() rounds to nearest, and error feedback (src/quant)
// chooses codes one after the other on a grid that it picks among CandidateGrids().
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "rondo/tensor.h"

namespace rondo {

inline constexpr int kMaxBlockLength = 256;
inline constexpr int kMaxGroups = 16;

struct BlockGrid {
  int group_length = 0;
  int lowest = 0, highest = 0;  // codes
  std::array<float, kMaxGroups> scale{}, offset{};
  // As stored: halves, and in K types the integers that they are multiplied with, by group.
  uint16_t half_scale = 0, half_offset = 0;
  std::array<int8_t, kMaxGroups> scale_factors{}, offset_factors{};

  int Group(int element) const { return element / group_length; }
  // The code nearest to x at `element`; 0 on a grid without steps.
  int Nearest(int element, float x) const;
  float Value(int element, int code) const {
    const auto g = static_cast<size_t>(Group(element));
    return scale[g] * static_cast<float>(code) + offset[g];
  }
};

// Grids for the values x [block length] of a quantised type, `importance` [block length] being the
// cost of a squared error of each element: several to choose from where only the scale is stored,
// one fitted grid for the K types.
std::vector<BlockGrid> CandidateGrids(DType dtype, const float* x, const float* importance);

// The bytes of one block.
void PackBlock(DType dtype, const BlockGrid& grid, const int16_t* codes, uint8_t* out);

}  // namespace rondo
