#include "tensor/quant_encode.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string>

#include "rondo/error.h"
#include "tensor/float_convert.h"
#include "tensor/log_encode.h"
#include "tensor/quant_grid.h"

namespace rondo {
namespace {

constexpr int kSmallBlock = 32;
using Codes = std::array<int16_t, kMaxBlockLength>;

[[noreturn]] void Fail(float value) {
  throw Error({.function = "EncodeBlocks",
               .problem = "value " + std::to_string(value),
               .expected = "finite values within the range of the scales"});
}

uint16_t Half(float value) {
  const uint16_t half = F16FromF32(value);
  if (!std::isfinite(F32FromF16(half))) Fail(value);
  return half;
}

// Codes come from the scale before it is rounded to f16, as in the reference.
// A block of zeros, or of values that f16 cannot tell from zero, has no scale.
float Inverse(float scale) {
  const float inverse = 1 / scale;
  return std::isfinite(inverse) ? inverse : 0;
}

void RoundQ8_0(const float* x, BlockGrid& grid, Codes& codes) {
  float largest = 0;
  for (int i = 0; i < kSmallBlock; ++i) largest = std::max(largest, std::abs(x[i]));
  const float d = largest / 127;
  const float inverse = Inverse(d);
  grid.half_scale = Half(d);
  for (int i = 0; i < kSmallBlock; ++i) {
    codes[static_cast<size_t>(i)] = static_cast<int16_t>(std::round(x[i] * inverse));
  }
}

// q4_0 and q5_0: the value of largest magnitude gets the lowest code, which has no counterpart.
void RoundSymmetric(const float* x, int levels, BlockGrid& grid, Codes& codes) {
  float extreme = 0;
  for (int i = 0; i < kSmallBlock; ++i) {
    if (std::abs(x[i]) > std::abs(extreme)) extreme = x[i];
  }
  const int bias = levels / 2;
  const float d = extreme / static_cast<float>(-bias);
  const float inverse = Inverse(d);
  grid.half_scale = Half(d);
  for (int i = 0; i < kSmallBlock; ++i) {
    const int code = static_cast<int>(x[i] * inverse + (static_cast<float>(bias) + 0.5f));
    codes[static_cast<size_t>(i)] = static_cast<int16_t>(std::min(code, levels - 1) - bias);
  }
}

// q4_1 and q5_1.
void RoundAffine(const float* x, int levels, BlockGrid& grid, Codes& codes) {
  const auto [low, high] = std::minmax_element(x, x + kSmallBlock);
  const float d = (*high - *low) / static_cast<float>(levels - 1);
  const float inverse = Inverse(d);
  grid.half_scale = Half(d);
  grid.half_offset = Half(*low);
  for (int i = 0; i < kSmallBlock; ++i) {
    const int code = static_cast<int>((x[i] - *low) * inverse + 0.5f);
    codes[static_cast<size_t>(i)] = static_cast<int16_t>(std::min(code, levels - 1));
  }
}

void RoundSuperBlock(DType dtype, const float* x, BlockGrid& grid, Codes& codes) {
  std::array<float, kMaxBlockLength> even;
  even.fill(1);
  grid = CandidateGrids(dtype, x, even.data()).front();
  for (int i = 0; i < kMaxBlockLength; ++i) {
    codes[static_cast<size_t>(i)] = static_cast<int16_t>(grid.Nearest(i, x[i]));
  }
}

void RoundBlock(DType dtype, const float* x, BlockGrid& grid, Codes& codes) {
  switch (dtype) {
    case DType::kQ8_0:
      return RoundQ8_0(x, grid, codes);
    case DType::kQ4_0:
      return RoundSymmetric(x, 16, grid, codes);
    case DType::kQ5_0:
      return RoundSymmetric(x, 32, grid, codes);
    case DType::kQ4_1:
      return RoundAffine(x, 16, grid, codes);
    case DType::kQ5_1:
      return RoundAffine(x, 32, grid, codes);
    default:
      return RoundSuperBlock(dtype, x, grid, codes);
  }
}

}  // namespace

void EncodeBlocks(DType dtype, const float* values, int64_t count, std::byte* out) {
  const DTypeInfo& info = Info(dtype);
  if (!IsQuantized(dtype) || !CanEncode(dtype) || count % info.block_length != 0) {
    throw Error({.function = "EncodeBlocks",
                 .problem = std::to_string(count) + " values of type " + std::string(info.name),
                 .expected = "whole blocks of a quantised type that rondo writes"});
  }
  if (OnlyRondoReads(dtype)) {
    return EncodeLogBlocks(LogFormatOf(dtype), values, count / info.block_length, out);
  }
  for (int64_t i = 0; i < count; ++i) {
    if (!std::isfinite(values[i])) Fail(values[i]);
  }
  auto* block = reinterpret_cast<uint8_t*>(out);
  BlockGrid grid;
  Codes codes;
  for (int64_t i = 0; i < count; i += info.block_length) {
    RoundBlock(dtype, values + i, grid, codes);
    PackBlock(dtype, grid, codes.data(), block);
    block += info.block_bytes;
  }
}

}  // namespace rondo
