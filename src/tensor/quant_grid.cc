#include "tensor/quant_grid.h"

#include <algorithm>
#include <cmath>

#include "rondo/error.h"
#include "tensor/float_convert.h"
#include "tensor/log_encode.h"
#include "tensor/log_scale.h"

namespace rondo {
namespace {

// Codes of the types; q8_0 leaves -128 out as the reference does.
struct CodeRange {
  int lowest, highest;
};

CodeRange RangeOf(DType dtype) {
  switch (dtype) {
    case DType::kQ8_0:
      return {-127, 127};
    case DType::kQ4_0:
      return {-8, 7};
    case DType::kQ5_0:
      return {-16, 15};
    case DType::kQ6_K:
      return {-32, 31};
    case DType::kQ4_1:
    case DType::kQ4_K:
      return {0, 15};
    case DType::kQ3_0:
    case DType::kQ3_1:
      return {0, 7};
    case DType::kQ2_0:
    case DType::kQ2_1:
      return {0, 3};
    default:
      return {0, 31};
  }
}

uint16_t CheckedHalf(float value) {
  const uint16_t half = F16FromF32(value);
  if (!std::isfinite(F32FromF16(half))) {
    throw Error({.function = "EncodeBlocks",
                 .problem = "scale " + std::to_string(value),
                 .expected = "values whose scale fits f16"});
  }
  return half;
}

float AbsMaxSigned(const float* x, int n) {
  return *std::max_element(x, x + n, [](float a, float b) { return std::abs(a) < std::abs(b); });
}

int NearestCode(float x, float inverse, float offset, CodeRange range) {
  constexpr float kRounder = 0x1.8p23f;  // adding it leaves no bits for a fraction
  const float code = std::clamp((x - offset) * inverse, static_cast<float>(range.lowest),
                                static_cast<float>(range.highest));
  return static_cast<int>((code + kRounder) - kRounder);
}

// 1 / scale, or 0 where that is infinite.
float Inverse(float scale) {
  const float inverse = 1 / scale;
  return std::isfinite(inverse) ? inverse : 0;
}

struct Line {
  float scale = 0, offset = 0;
};

double ErrorOf(const Line& line, CodeRange range, const float* x, const float* importance, int n) {
  const float inverse = Inverse(line.scale);
  double error = 0;
  for (int i = 0; i < n; ++i) {
    const int code = NearestCode(x[i], inverse, line.offset, range);
    const double e = double{line.scale} * code + line.offset - x[i];
    error += importance[i] * e * e;
  }
  return error;
}

// Least-squares scale (and offset ≤ 0, unless `symmetric`) for the codes that `line` gives.
Line Refit(const Line& line, CodeRange range, bool symmetric, const float* x,
           const float* importance, int n) {
  const float inverse = Inverse(line.scale);
  double w = 0, wq = 0, wqq = 0, wx = 0, wqx = 0;
  for (int i = 0; i < n; ++i) {
    const double q = NearestCode(x[i], inverse, line.offset, range), p = importance[i];
    w += p;
    wq += p * q;
    wqq += p * q * q;
    wx += p * x[i];
    wqx += p * q * x[i];
  }
  const double determinant = w * wqq - wq * wq;
  if (!symmetric && determinant > 1e-12 * w * wqq) {
    const double offset = (wqq * wx - wq * wqx) / determinant;
    if (offset <= 0) {
      return {static_cast<float>((w * wqx - wq * wx) / determinant), static_cast<float>(offset)};
    }
  }
  return {wqq > 0 ? static_cast<float>(wqx / wqq) : line.scale, 0};
}

// The best scale (and offset) of one group of a K type before they are rounded: codes and line in
// turn, from several ranges, since the outermost values are often better clipped.
Line FitGroup(CodeRange range, bool symmetric, const float* x, const float* importance, int n) {
  constexpr float kShrink[] = {1.0f, 0.94f, 0.88f, 0.82f, 0.75f, 0.67f};
  constexpr int kRounds = 2;
  const float extreme = AbsMaxSigned(x, n);
  const float low = symmetric ? 0 : std::min(0.0f, *std::min_element(x, x + n));
  const float high = symmetric ? 0 : *std::max_element(x, x + n);
  Line best;
  best.offset = low;
  double least = ErrorOf(best, range, x, importance, n);
  const auto consider = [&](const Line& line) {
    const double error = ErrorOf(line, range, x, importance, n);
    if (error < least) {
      least = error;
      best = line;
    }
  };
  for (const float shrink : kShrink) {
    Line line;
    if (symmetric) {
      line.scale = shrink * extreme / static_cast<float>(range.lowest);
    } else {
      line.offset = low * shrink;
      line.scale = shrink * (high - low) / static_cast<float>(range.highest);
    }
    if (Inverse(line.scale) == 0) break;
    consider(line);
    for (int round = 0; round < kRounds && line.scale != 0; ++round) {
      line = Refit(line, range, symmetric, x, importance, n);
      consider(line);
    }
  }
  return best;
}

// Rounds scale and offset of a group to integer multiples of the block's; neighbours of the nearest
// integers are tried, since the two errors can cancel.
void RoundGroup(BlockGrid& grid, size_t g, const Line& line, float d, float m, CodeRange factors,
                const float* x, const float* importance) {
  const CodeRange codes{grid.lowest, grid.highest};
  const auto center = [&](float value, float unit) {
    return unit == 0 ? 0 : static_cast<int>(std::lround(value / unit));
  };
  const int scale = center(line.scale, d), offset = center(line.offset, -m);
  double least = INFINITY;
  for (int s = scale - 1; s <= scale + 1; ++s) {
    for (int o = offset - 1; o <= offset + 1; ++o) {
      if (s < factors.lowest || s > factors.highest || o < 0 || o > 63) continue;
      if ((m == 0 && o != 0) || (d == 0 && s != 0)) continue;
      const Line rounded{d * static_cast<float>(s), -(m * static_cast<float>(o))};
      const double error = ErrorOf(rounded, codes, x, importance, grid.group_length);
      if (!(error < least)) continue;
      least = error;
      grid.scale[g] = rounded.scale;
      grid.offset[g] = rounded.offset;
      grid.scale_factors[g] = static_cast<int8_t>(s);
      grid.offset_factors[g] = static_cast<int8_t>(o);
    }
  }
}

// K types: a line for every group, whose scales and offsets are multiples of two halves.
BlockGrid FitSuperBlock(DType dtype, const float* x, const float* importance) {
  const CodeRange range = RangeOf(dtype);
  const bool symmetric = dtype == DType::kQ6_K;
  const CodeRange factors = symmetric ? CodeRange{-128, 127} : CodeRange{0, 63};
  BlockGrid grid{
      .group_length = symmetric ? 16 : 32, .lowest = range.lowest, .highest = range.highest};
  const auto groups = static_cast<size_t>(kMaxBlockLength / grid.group_length);
  std::array<Line, kMaxGroups> lines;
  float scale = 0, offset = 0;  // the largest of each
  for (size_t g = 0; g < groups; ++g) {
    const size_t at = g * static_cast<size_t>(grid.group_length);
    lines[g] = FitGroup(range, symmetric, x + at, importance + at, grid.group_length);
    if (std::abs(lines[g].scale) > std::abs(scale)) scale = lines[g].scale;
    offset = std::max(offset, -lines[g].offset);
  }
  grid.half_scale = CheckedHalf(scale / static_cast<float>(symmetric ? -128 : 63));
  grid.half_offset = CheckedHalf(offset / 63);
  const float d = F32FromF16(grid.half_scale), m = F32FromF16(grid.half_offset);
  for (size_t g = 0; g < groups; ++g) {
    const size_t at = g * static_cast<size_t>(grid.group_length);
    RoundGroup(grid, g, lines[g], d, m, factors, x + at, importance + at);
  }
  return grid;
}

BlockGrid SmallGrid(CodeRange range, float scale, float offset) {
  BlockGrid grid{.group_length = 32, .lowest = range.lowest, .highest = range.highest};
  grid.half_scale = CheckedHalf(scale);
  grid.half_offset = CheckedHalf(offset);
  grid.scale[0] = F32FromF16(grid.half_scale);
  grid.offset[0] = F32FromF16(grid.half_offset);
  return grid;
}

// Scales around the one that just reaches the extreme value; most of them clip it.
std::vector<BlockGrid> SymmetricGrids(DType dtype, const float* x) {
  const CodeRange range = RangeOf(dtype);
  const bool eight_bits = dtype == DType::kQ8_0;
  const int steps = eight_bits ? 4 : 14;
  const float width = eight_bits ? 0.005f : 0.03f;
  const float full = AbsMaxSigned(x, 32) / static_cast<float>(range.lowest);
  std::vector<BlockGrid> grids;
  for (int i = 0; i < steps; ++i) {
    grids.push_back(SmallGrid(range, full * (1.03f - width * static_cast<float>(i)), 0));
  }
  if (!eight_bits) {  // the extreme at the end with one code less
    grids.push_back(SmallGrid(
        range, -full * static_cast<float>(-range.lowest) / static_cast<float>(range.highest), 0));
  }
  return grids;
}

std::vector<BlockGrid> AffineGrids(DType dtype, const float* x) {
  constexpr float kShrink[] = {1.0f, 0.95f, 0.9f, 0.85f, 0.8f, 0.75f};
  constexpr float kShift[] = {-0.5f, 0.0f, 0.5f};  // in steps
  const CodeRange range = RangeOf(dtype);
  const auto [low, high] = std::minmax_element(x, x + 32);
  const float middle = (*low + *high) / 2, width = *high - *low;
  std::vector<BlockGrid> grids;
  for (const float shrink : kShrink) {
    const float scale = shrink * width / static_cast<float>(range.highest);
    for (const float shift : kShift) {
      grids.push_back(SmallGrid(range, scale, middle - shrink * width / 2 + shift * scale));
    }
  }
  return grids;
}

BlockGrid LogGrid(const LogFormat& format, uint8_t scale, int offset) {
  BlockGrid grid{.group_length = 32, .lowest = 0, .highest = format.highest()};
  grid.log_scale = scale;
  grid.log_offset = static_cast<int8_t>(offset);
  grid.scale[0] = kLogScales[scale];
  grid.offset[0] = LogValue(format, grid.scale[0], 0, offset);
  return grid;
}

// The offset, in 1/32 steps, that moves the middle of the codes to `middle` steps.
int NearestLogOffset(float middle) {
  if (!(middle > -4)) return -128;  // NaN too
  return static_cast<int>(std::lround(std::min(32 * middle, 127.0f)));
}

// Where the middle of codes of scale d should be, in steps: codes and middle in turn.
float FitMiddle(const LogFormat& format, float d, float middle, const float* x,
                const float* importance) {
  constexpr int kRounds = 2;
  const float inverse = 1 / d, highest = static_cast<float>(format.highest());
  for (int round = 0; round < kRounds; ++round) {
    float sum = 0, weights = 0;
    for (int i = 0; i < 32; ++i) {
      const float at = x[i] * inverse - middle + format.center();
      sum += importance[i] * (at - std::clamp(std::nearbyint(at), 0.0f, highest));
      weights += importance[i];
    }
    if (weights > 0) middle += sum / weights;
    middle = std::clamp(middle, -4.0f, 127.0f / 32);
  }
  return middle;
}

// Scales from one that spans the values down to where clipping surely costs more, and for each the
// offset of least squared error with its neighbours, which suit what feedback adds to the values.
std::vector<BlockGrid> LogGrids(DType dtype, const float* x, const float* importance) {
  const LogFormat format = LogFormatOf(dtype);
  const auto [low, high] = std::minmax_element(x, x + 32);
  const LogReach reach = LogReachOf(format, *low, *high);
  std::vector<BlockGrid> grids;
  for (int k = reach.first; k > reach.first - reach.count; --k) {
    const auto scale = static_cast<uint8_t>(std::clamp(k, reach.code == 0 ? 0 : 1, 255));
    if (!format.offset || scale == 0) {
      grids.push_back(LogGrid(format, scale, 0));
      continue;
    }
    const float d = kLogScales[scale];
    const float start = std::clamp((*low + *high) / 2 / d, -4.0f, 127.0f / 32);
    const int middle = NearestLogOffset(FitMiddle(format, d, start, x, importance));
    for (const int shift : {0, -6, 6}) {
      grids.push_back(LogGrid(format, scale, std::clamp(middle + shift, -128, 127)));
    }
  }
  return grids;
}

}  // namespace

int BlockGrid::Nearest(int element, float x) const {
  const auto g = static_cast<size_t>(Group(element));
  return NearestCode(x, Inverse(scale[g]), offset[g], {lowest, highest});
}

std::vector<BlockGrid> CandidateGrids(DType dtype, const float* x, const float* importance) {
  switch (dtype) {
    case DType::kQ8_0:
    case DType::kQ4_0:
    case DType::kQ5_0:
      return SymmetricGrids(dtype, x);
    case DType::kQ4_1:
    case DType::kQ5_1:
      return AffineGrids(dtype, x);
    case DType::kQ4_K:
    case DType::kQ5_K:
    case DType::kQ6_K:
      return {FitSuperBlock(dtype, x, importance)};
    case DType::kQ2_0:
    case DType::kQ2_1:
    case DType::kQ3_0:
    case DType::kQ3_1:
      return LogGrids(dtype, x, importance);
    default:
      throw Error({.function = "CandidateGrids",
                   .problem = "type " + std::string(Info(dtype).name) + " has no blocks"});
  }
}

BlockGrid NearestGrid(DType dtype, float scale, float offset) {
  if (!CanEncode(dtype) || Info(dtype).block_length != 32) {
    throw Error({.function = "NearestGrid",
                 .problem = "type " + std::string(Info(dtype).name),
                 .expected = "a type with blocks of 32"});
  }
  if (!OnlyRondoReads(dtype)) {
    const bool affine = dtype == DType::kQ4_1 || dtype == DType::kQ5_1;
    return SmallGrid(RangeOf(dtype), scale, affine ? offset : 0);
  }
  if (!std::isfinite(scale) || !std::isfinite(offset)) {
    throw Error({.function = "NearestGrid",
                 .problem = "scale " + std::to_string(scale) + ", offset " + std::to_string(offset),
                 .expected = "finite numbers"});
  }
  const LogFormat format = LogFormatOf(dtype);
  const uint8_t code = NearestLogScale(scale);
  const float d = kLogScales[code];
  const bool moved = format.offset && code != 0;
  return LogGrid(format, code, moved ? NearestLogOffset(offset / d + format.center()) : 0);
}

}  // namespace rondo
