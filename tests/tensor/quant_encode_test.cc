#include "tensor/quant_encode.h"

#include <gmock/gmock.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "base/rng.h"
#include "rondo/error.h"
#include "rondo/tensor.h"
#include "rondo/thread_pool.h"
#include "tensor/float_convert.h"
#include "tensor/quant_blocks.h"
#include "tensor/quant_grid.h"

namespace rondo {
namespace {

using testing::Each;
using testing::HasSubstr;
using testing::ThrowsMessage;

const std::vector<DType> kQuantized = {DType::kQ8_0, DType::kQ4_0, DType::kQ4_1, DType::kQ5_0,
                                       DType::kQ5_1, DType::kQ4_K, DType::kQ5_K, DType::kQ6_K,
                                       DType::kQ2_0, DType::kQ2_1, DType::kQ3_0, DType::kQ3_1};

std::vector<float> Normal(uint64_t seed, size_t count) {
  Rng rng(seed);
  std::vector<float> values(count);
  for (float& value : values) value = static_cast<float>(0.02 * rng.Normal());
  return values;
}

std::vector<float> RoundTrip(DType dtype, const std::vector<float>& values) {
  return ToF32(Cast(Tensor::FromF32({static_cast<int64_t>(values.size())}, values), dtype));
}

class QuantEncode : public testing::TestWithParam<DType> {};

// Scales that are powers of two make decoding exact, so every bit of the layout shows.
TEST_P(QuantEncode, PackedCodesAreDecodedToTheirValues) {
  const auto length = static_cast<size_t>(Info(GetParam()).block_length);
  const std::vector<float> x = Normal(1, length), even(length, 1.0f);
  BlockGrid grid = CandidateGrids(GetParam(), x.data(), even.data()).front();
  if (OnlyRondoReads(GetParam())) grid = NearestGrid(GetParam(), 0.25f, -0.125f);
  const bool offsets = grid.lowest == 0, k_type = length == kMaxBlockLength;
  grid.half_scale = F16FromF32(0.25f);
  grid.half_offset = offsets ? F16FromF32(0.5f) : 0;
  for (size_t g = 0; g < kMaxGroups && !OnlyRondoReads(GetParam()); ++g) {
    grid.scale_factors[g] = static_cast<int8_t>(offsets ? 63 - 4 * g % 64 : 100 - 13 * g);
    grid.offset_factors[g] = static_cast<int8_t>(offsets ? 7 * g % 64 : 0);
    grid.scale[g] = 0.25f * (k_type ? static_cast<float>(grid.scale_factors[g]) : 1.0f);
    grid.offset[g] = offsets ? 0.5f : 0.0f;
    if (k_type) grid.offset[g] *= -static_cast<float>(grid.offset_factors[g]);
  }
  Rng rng(2);
  std::vector<int16_t> codes(length);
  for (int16_t& code : codes) {
    const auto count = static_cast<uint64_t>(grid.highest - grid.lowest + 1);
    code = static_cast<int16_t>(grid.lowest + static_cast<int>(rng.Next() % count));
  }
  std::vector<uint8_t> bytes(static_cast<size_t>(Info(GetParam()).block_bytes));
  PackBlock(GetParam(), grid, codes.data(), bytes.data());
  std::vector<float> decoded(length);
  DecodeBlocks(GetParam(), reinterpret_cast<const std::byte*>(bytes.data()),
               static_cast<int64_t>(length), decoded.data());
  for (size_t i = 0; i < length; ++i) {
    ASSERT_EQ(decoded[i], grid.Value(static_cast<int>(i), codes[i])) << i;
  }
}

TEST_P(QuantEncode, ZerosStayZeros) {
  EXPECT_THAT(RoundTrip(GetParam(), std::vector<float>(512)), Each(0.0f));
}

TEST_P(QuantEncode, ValuesTooSmallForAScaleBecomeZeros) {
  std::vector<float> tiny(512, 1e-39f);
  tiny[3] = -1e-39f;
  EXPECT_THAT(RoundTrip(GetParam(), tiny), Each(0.0f));
}

TEST_P(QuantEncode, ABlockOfOneValueIsKept) {
  for (const float value : {0.75f, -0.75f}) {
    for (const float got : RoundTrip(GetParam(), std::vector<float>(512, value))) {
      // Scales in f16 (half a unit in 2^-11) and, in K types, their 6-bit factors (1/126), each
      // multiplied with the whole value; q8_0 and q6_k round the value itself to 1/254 and 1/62.
      // Scales of q3_0 have eight values an octave, of which those for codes 2.5 and 3.5 lie apart.
      EXPECT_NEAR(got, value, 0.75f / 40);
    }
  }
}

TEST_P(QuantEncode, RefusesWhatTheTypeCannotHold) {
  for (const float value : {std::numeric_limits<float>::infinity(), std::nanf(""), 3e38f}) {
    std::vector<float> values(256, 0.5f);
    values[77] = value;
    EXPECT_THAT([&] { RoundTrip(GetParam(), values); },
                ThrowsMessage<Error>(HasSubstr("EncodeBlocks")));
  }
}

TEST_P(QuantEncode, ThreadsDoNotChangeTheBytes) {
  const Tensor tensor = Tensor::FromF32({37, 256}, Normal(5, 37 * 256));
  ThreadPool pool(3);
  const Tensor one = Cast(tensor, GetParam()), three = Cast(tensor, GetParam(), &pool);
  EXPECT_TRUE(std::equal(one.bytes().begin(), one.bytes().end(), three.bytes().begin()));
}

INSTANTIATE_TEST_SUITE_P(AllTypes, QuantEncode, testing::ValuesIn(kQuantized),
                         [](const auto& type) { return std::string(Info(type.param).name); });

// Root mean square error of rounding groups of 32 to `levels` steps between their smallest and
// largest value, scale and offset in f32.
double MinMaxError(const std::vector<float>& x, int levels) {
  double sum = 0;
  for (size_t begin = 0; begin < x.size(); begin += 32) {
    const auto [low, high] = std::minmax_element(x.begin() + begin, x.begin() + begin + 32);
    const double step = (double{*high} - *low) / (levels - 1);
    for (size_t i = begin; i < begin + 32; ++i) {
      const double rounded = *low + step * std::round((x[i] - *low) / step);
      sum += (rounded - x[i]) * (rounded - x[i]);
    }
  }
  return std::sqrt(sum / static_cast<double>(x.size()));
}

double RmsError(DType dtype, const std::vector<float>& x) {
  const std::vector<float> decoded = RoundTrip(dtype, x);
  double sum = 0;
  for (size_t i = 0; i < x.size(); ++i) sum += (double{decoded[i]} - x[i]) * (decoded[i] - x[i]);
  return std::sqrt(sum / static_cast<double>(x.size()));
}

// The search must make good more than the rounding of scales to 6 bits costs: with fewer bits for
// scales the K types still beat plain rounding with exact ones.
TEST(QuantEncodeTest, KTypesBeatRoundingBetweenExactExtremes) {
  const std::vector<float> x = Normal(7, 64 * 256);
  EXPECT_LT(RmsError(DType::kQ4_K, x), MinMaxError(x, 16));
  EXPECT_LT(RmsError(DType::kQ5_K, x), MinMaxError(x, 32));
  EXPECT_LT(RmsError(DType::kQ6_K, x), MinMaxError(x, 64));
}

// Half a step of the grid: d/2, or d where the largest value meets the end with one code less
// (q4_0, q5_0). d is rounded to f16 (relative error 2^-11) under codes chosen before.
TEST(QuantEncodeTest, ErrorsAreWithinAStep) {
  const std::vector<float> x = Normal(9, 128 * 32);
  const std::vector<std::pair<DType, double>> steps = {
      {DType::kQ8_0, 254}, {DType::kQ4_0, 8}, {DType::kQ5_0, 16}};  // steps in the extreme
  for (const auto& [dtype, count] : steps) {
    const std::vector<float> decoded = RoundTrip(dtype, x);
    for (size_t begin = 0; begin < x.size(); begin += 32) {
      float extreme = 0;
      for (size_t i = begin; i < begin + 32; ++i) extreme = std::max(extreme, std::abs(x[i]));
      const double bound = extreme * (1 / count + 0x1p-11);
      for (size_t i = begin; i < begin + 32; ++i) ASSERT_NEAR(decoded[i], x[i], bound);
    }
  }
}

TEST(QuantEncodeTest, RowsMustBeWholeBlocks) {
  const Tensor tensor = Tensor::FromF32({2, 48}, std::vector<float>(96));
  EXPECT_THAT([&] { Cast(tensor, DType::kQ4_0); },
              ThrowsMessage<Error>(HasSubstr("multiple of 32")));
  EXPECT_THAT([&] { EncodeBlocks(DType::kF16, nullptr, 32, nullptr); },
              ThrowsMessage<Error>(HasSubstr("quantised type")));
}

}  // namespace
}  // namespace rondo
