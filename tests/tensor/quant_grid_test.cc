// Blocks taken apart and put together, and the types of 2 and 3 bits.
#include "tensor/quant_grid.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "base/rng.h"
#include "rondo/error.h"
#include "tensor/float_convert.h"
#include "tensor/log_scale.h"
#include "tensor/quant_blocks.h"
#include "tensor/quant_encode.h"

namespace rondo {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

constexpr DType kSmall[] = {DType::kQ8_0, DType::kQ4_0, DType::kQ4_1, DType::kQ5_0, DType::kQ5_1,
                            DType::kQ2_0, DType::kQ2_1, DType::kQ3_0, DType::kQ3_1};
constexpr DType kLog[] = {DType::kQ2_0, DType::kQ2_1, DType::kQ3_0, DType::kQ3_1};

std::string NameOf(const testing::TestParamInfo<DType>& type) {
  return std::string(Info(type.param).name);
}

std::vector<float> Decoded(DType type, const std::vector<std::byte>& bytes, int64_t count) {
  std::vector<float> values(static_cast<size_t>(count));
  DecodeBlocks(type, bytes.data(), count, values.data());
  return values;
}

std::vector<std::byte> Encoded(DType type, const std::vector<float>& values) {
  std::vector<std::byte> bytes(StorageBytes(type, {static_cast<int64_t>(values.size())}));
  EncodeBlocks(type, values.data(), static_cast<int64_t>(values.size()), bytes.data());
  return bytes;
}

std::vector<float> Normal(uint64_t seed, size_t count, double scale = 0.02) {
  Rng rng(seed);
  std::vector<float> values(count);
  for (float& value : values) value = static_cast<float>(scale * rng.Normal());
  return values;
}

class SmallBlocks : public testing::TestWithParam<DType> {};

// Halves of 4 to 8 bits are small numbers, scale bytes any.
std::vector<std::byte> RandomBytes(DType type, int64_t blocks) {
  Rng rng(3);
  std::vector<std::byte> bytes(static_cast<size_t>(blocks * Info(type).block_bytes));
  for (std::byte& b : bytes) b = std::byte(rng.Next() & 255);
  const auto step = static_cast<size_t>(Info(type).block_bytes);
  for (size_t at = 0; at < bytes.size() && !OnlyRondoReads(type); at += step) {
    bytes[at + 1] = bytes[at + 3] = std::byte(0x20);  // 2^-7 and a little
  }
  return bytes;
}

TEST_P(SmallBlocks, ReadingIsTheInverseOfPacking) {
  const int64_t count = 200;
  const auto bytes = RandomBytes(GetParam(), count);
  const std::vector<float> values = Decoded(GetParam(), bytes, 32 * count);
  const auto size = static_cast<size_t>(Info(GetParam()).block_bytes);
  for (size_t block = 0; block < static_cast<size_t>(count); ++block) {
    const auto* stored = reinterpret_cast<const uint8_t*>(bytes.data()) + block * size;
    if (OnlyRondoReads(GetParam()) && stored[0] == 0) continue;  // other bytes mean nothing
    int16_t codes[kMaxBlockLength];
    const BlockGrid grid = ReadBlock(GetParam(), stored, codes);
    for (int i = 0; i < 32; ++i) {
      ASSERT_GE(codes[i], grid.lowest - (GetParam() == DType::kQ8_0 ? 1 : 0));
      ASSERT_LE(codes[i], grid.highest);
      const float value = values[block * 32 + static_cast<size_t>(i)];
      // Two roundings where decoding has one, each of 2^-24 of at most 8 steps of offset.
      ASSERT_NEAR(grid.Value(i, codes[i]), value,
                  0x1p-24f * 16 * std::abs(grid.scale[0]) + 0x1p-23f * std::abs(value));
    }
    std::vector<uint8_t> packed(size);
    PackBlock(GetParam(), grid, codes, packed.data());
    ASSERT_EQ(std::memcmp(packed.data(), stored, size), 0) << "block " << block;
  }
}

TEST_P(SmallBlocks, NearestGridsAreStorable) {
  Rng rng(5);
  for (int i = 0; i < 200; ++i) {
    const auto scale = static_cast<float>(std::exp2(-8 * rng.Uniform()));
    const auto offset = static_cast<float>(scale * 8 * (rng.Uniform() - 0.5));
    const BlockGrid grid = NearestGrid(GetParam(), scale, offset);
    // f16 has 11 bits; scale bytes have eight steps an octave.
    const double step = OnlyRondoReads(GetParam()) ? std::exp2(1.0 / 16) : 1 + 0x1p-11;
    EXPECT_LE(grid.scale[0], scale * step * 1.000001);
    EXPECT_GE(grid.scale[0], scale / step / 1.000001);
    const BlockGrid again = NearestGrid(GetParam(), grid.scale[0], grid.offset[0]);
    EXPECT_EQ(again.scale[0], grid.scale[0]);
    EXPECT_EQ(again.offset[0], grid.offset[0]);
  }
}

TEST_P(SmallBlocks, EncodingDecodedValuesAgainChangesNothing) {
  for (const double scale : {0.02, 3.0, 1e-3}) {
    const std::vector<float> once =
        Decoded(GetParam(), Encoded(GetParam(), Normal(7, 32 * 500, scale)), 32 * 500);
    EXPECT_EQ(Decoded(GetParam(), Encoded(GetParam(), once), 32 * 500), once);
  }
}

INSTANTIATE_TEST_SUITE_P(Types, SmallBlocks, testing::ValuesIn(kSmall), NameOf);

class LogBlocks : public testing::TestWithParam<DType> {};

// The statement of log_scale.h, written again.
TEST_P(LogBlocks, ValuesAreThoseOfTheFormat) {
  const int64_t count = 600;
  const bool offset = GetParam() == DType::kQ2_1 || GetParam() == DType::kQ3_1;
  const bool three = GetParam() == DType::kQ3_0 || GetParam() == DType::kQ3_1;
  const auto bytes = RandomBytes(GetParam(), count);
  const std::vector<float> values = Decoded(GetParam(), bytes, 32 * count);
  for (size_t i = 0; i < values.size(); ++i) {
    const auto* block = reinterpret_cast<const uint8_t*>(bytes.data()) +
                        i / 32 * static_cast<size_t>(Info(GetParam()).block_bytes);
    const double d = block[0] == 0 ? 0 : std::exp2((block[0] - 192) / 8.0);
    const double moved = offset ? static_cast<int8_t>(block[1]) / 32.0 : 0;
    const uint8_t* codes = block + (offset ? 2 : 1);
    const size_t at = i % 32;
    int q = codes[at % 8] >> (2 * (at / 8)) & 3;
    if (three) q += 4 * (codes[8 + at / 8] >> (at % 8) & 1);
    const double expected = d * (q - (three ? 3.5 : 1.5) + moved);
    ASSERT_NEAR(values[i], expected, 0x1p-23 * std::abs(expected)) << i;
  }
}

// Every block that decodes to its values is found again, even of one value, of few codes, or with
// an offset that puts all values on one side of zero.
TEST_P(LogBlocks, WhateverABlockCanHoldIsKept) {
  const int64_t count = 3000;
  auto bytes = RandomBytes(GetParam(), count);
  const auto size = static_cast<size_t>(Info(GetParam()).block_bytes);
  for (size_t block = 0; block < static_cast<size_t>(count); ++block) {
    std::byte* codes = bytes.data() + (block + 1) * size - (size % 4 < 3 && size < 12 ? 8 : 12);
    if (block % 3 == 1) std::fill(codes, bytes.data() + (block + 1) * size, std::byte(0xff));
    if (block % 3 == 2) std::fill(codes, codes + 7, std::byte(0xff));
  }
  const std::vector<float> values = Decoded(GetParam(), bytes, 32 * count);
  // 2^(63/8) with an offset is beyond what encoding takes.
  std::vector<float> kept;
  for (size_t i = 0; i < values.size(); i += 32) {
    const auto end = values.begin() + static_cast<std::ptrdiff_t>(i) + 32;
    if (std::all_of(end - 32, end, [](float v) { return std::abs(v) < 300; })) {
      kept.insert(kept.end(), end - 32, end);
    }
  }
  const auto n = static_cast<int64_t>(kept.size());
  ASSERT_GT(n, 32 * count / 2);
  EXPECT_EQ(Decoded(GetParam(), Encoded(GetParam(), kept), n), kept);
}

double SquaredError(const float* a, const float* b) {
  double sum = 0;
  for (int i = 0; i < 32; ++i) sum += (double{a[i]} - b[i]) * (a[i] - b[i]);
  return sum;
}

// Against every scale and offset there is.
TEST_P(LogBlocks, SearchComesNearTheBestScaleThereIs) {
  const LogFormat format = LogFormatOf(GetParam());
  const int count = 40;
  const std::vector<float> x = Normal(11, 32 * count);
  const std::vector<float> decoded = Decoded(GetParam(), Encoded(GetParam(), x), 32 * count);
  double found = 0, best = 0;
  for (size_t at = 0; at < x.size(); at += 32) {
    found += SquaredError(&x[at], &decoded[at]);
    double least = INFINITY;
    for (int k = 100; k <= 192; ++k) {
      for (int o = format.offset ? -64 : 0; o <= (format.offset ? 64 : 0); ++o) {
        const float d = kLogScales[static_cast<size_t>(k)];
        double sum = 0;
        for (size_t i = at; i < at + 32; ++i) {
          const double y = double{x[i]} / d + format.center() - o / 32.0;
          const double q = std::clamp(std::nearbyint(y), 0.0, double(format.highest()));
          sum += (y - q) * (y - q) * d * d;
        }
        least = std::min(least, sum);
      }
    }
    best += least;
  }
  EXPECT_LE(found, 1.04 * best);
}

TEST_P(LogBlocks, ScalesHaveEnds) {
  const float top = kLogScales[255] * LogFormatOf(GetParam()).center();
  std::vector<float> x(32, 0.99f * top);
  std::fill(x.begin(), x.begin() + 16, -0.99f * top);
  const std::vector<float> decoded = Decoded(GetParam(), Encoded(GetParam(), x), 32);
  for (size_t i = 0; i < 32; ++i) EXPECT_NEAR(decoded[i], x[i], 0.05 * top);
  x[4] = 1.01f * top;
  EXPECT_THAT([&] { Encoded(GetParam(), x); }, ThrowsMessage<Error>(HasSubstr("numbers up to")));
}

INSTANTIATE_TEST_SUITE_P(Types, LogBlocks, testing::ValuesIn(kLog), NameOf);

TEST(LogScale, EveryScaleIsNearestToItself) {
  EXPECT_EQ(kLogScales[0], 0);
  EXPECT_EQ(kLogScales[192], 1);
  for (int k = 1; k < 256; ++k) {
    const float d = kLogScales[static_cast<size_t>(k)];
    EXPECT_NEAR(d, std::exp2((k - 192) / 8.0), 0x1p-24 * d);
    for (const double near : {1.0, std::exp2(0.99 / 16), std::exp2(-0.99 / 16)}) {
      EXPECT_EQ(NearestLogScale(static_cast<float>(near * d)), k);
    }
  }
  EXPECT_EQ(NearestLogScale(0), 0);
  EXPECT_EQ(NearestLogScale(-1), 0);
  EXPECT_EQ(NearestLogScale(kLogScales[1] / 3), 0);
  EXPECT_EQ(NearestLogScale(1e30f), 255);
}

TEST(QuantGridTest, SaysWhichTypesItKnows) {
  EXPECT_THAT([] { NearestGrid(DType::kQ4_K, 1, 0); },
              ThrowsMessage<Error>(HasSubstr("blocks of 32")));
  EXPECT_THROW(NearestGrid(DType::kQ3_0, NAN, 0), Error);
  EXPECT_THROW(NearestGrid(DType::kQ4_0, 1e6f, 0), Error);
}

}  // namespace
}  // namespace rondo
