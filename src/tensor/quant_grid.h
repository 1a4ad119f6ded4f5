// The numbers a quantised block can stand for, and blocks put together from grid and codes.
//
//   value[i] = scale[g] · code[i] + offset[g],   g = i / group_length
//
// Two ways lead to a block: EncodeBlocks() rounds to nearest, and error feedback (src/quant)
// chooses codes one after the other on a grid that it picks among CandidateGrids(). Whoever changes
// stored blocks takes them apart and puts them together again:
//
//   int16_t codes[kMaxBlockLength];
//   BlockGrid grid = ReadBlock(DType::kQ3_1, block, codes);
//   grid = NearestGrid(DType::kQ3_1, 1.1f * grid.scale[0], grid.offset[0]);
//   for (int i = 0; i < 32; ++i) codes[i] = static_cast<int16_t>(grid.Nearest(i, x[i]));
//   PackBlock(DType::kQ3_1, grid, codes, block);
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
  // As stored: halves, and in K types the integers that they are multiplied with, by group; in q2
  // and q3 the two bytes of log_scale.h.
  uint16_t half_scale = 0, half_offset = 0;
  std::array<int8_t, kMaxGroups> scale_factors{}, offset_factors{};
  uint8_t log_scale = 0;
  int8_t log_offset = 0;

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

// The grid that a block of a type with blocks of 32 can store nearest to `scale` and `offset`. For
// q8_0, q4_0 and q5_0 the offset is 0 and for q2_0 and q3_0 the middle of the codes becomes 0,
// whatever `offset` is; q2_1 and q3_1 hold offsets that move the middle by up to 4 steps; q2 and q3
// take a scale that is not above 0 as 0. Throws for numbers that are not finite or that f16 cannot
// hold.
BlockGrid NearestGrid(DType dtype, float scale, float offset);

// Grid and codes [32] of a stored block of such a type: the inverse of PackBlock().
BlockGrid ReadBlock(DType dtype, const uint8_t* block, int16_t* codes);

// The bytes of one block.
void PackBlock(DType dtype, const BlockGrid& grid, const int16_t* codes, uint8_t* out);

}  // namespace rondo
