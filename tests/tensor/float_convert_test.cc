#include "tensor/float_convert.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

namespace rondo {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// FNV-1a of the little-endian bytes. The expected values below are those of numpy and torch
// conversions of the same numbers, printed by tests/data/quant/make.py.
class Hash {
 public:
  template <typename T>
  void Add(T value) {
    for (size_t i = 0; i < sizeof(T); ++i) {
      hash_ = (hash_ ^ ((value >> (8 * i)) & 0xff)) * 0x100000001b3u;
    }
  }
  uint64_t value() const { return hash_; }

 private:
  uint64_t hash_ = 0xcbf29ce484222325u;
};

// Random bit patterns without NaN: half of them any, half within the range of f16.
std::vector<float> ProbeFloats() {
  std::vector<float> out;
  uint32_t x = 1;
  for (int i = 0; i < 100000; ++i) {
    x = x * 1664525u + 1013904223u;
    const uint32_t bits = i % 2 != 0 ? x : 0x33000000u + x % (0x47900000u - 0x33000000u);
    const float value = std::bit_cast<float>(bits);
    if (!std::isnan(value)) out.push_back(value);
  }
  return out;
}

TEST(FloatConvertTest, AllHalvesBecomeNumpysFloats) {
  Hash hash;
  for (uint32_t half = 0; half < 65536; ++half) {
    const float value = F32FromF16(static_cast<uint16_t>(half));
    if (!std::isnan(value)) hash.Add(std::bit_cast<uint32_t>(value));
  }
  EXPECT_EQ(hash.value(), 0xa7a575fd4882f925u);
}

TEST(FloatConvertTest, FloatsRoundToNumpysHalves) {
  Hash hash;
  for (const float value : ProbeFloats()) hash.Add(F16FromF32(value));
  EXPECT_EQ(hash.value(), 0x959c2a3e4e92ceadu);
}

TEST(FloatConvertTest, FloatsRoundToTorchsBf16) {
  Hash hash;
  for (const float value : ProbeFloats()) hash.Add(BF16FromF32(value));
  EXPECT_EQ(hash.value(), 0xffda7d09f011f5ddu);
}

TEST(FloatConvertTest, EveryHalfAndBf16SurvivesTheRoundTrip) {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const auto half = static_cast<uint16_t>(bits);
    if (!std::isnan(F32FromF16(half))) {
      ASSERT_EQ(F16FromF32(F32FromF16(half)), half);
    }
    if (!std::isnan(F32FromBF16(half))) {
      ASSERT_EQ(BF16FromF32(F32FromBF16(half)), half);
    }
  }
}

TEST(FloatConvertTest, NanStaysNanAndInfinityStaysInfinity) {
  // A NaN whose upper mantissa bits are all zero must not turn into infinity.
  for (const float nan :
       {kNan, std::bit_cast<float>(0x7f800001u), std::bit_cast<float>(0xff800001u)}) {
    EXPECT_TRUE(std::isnan(F32FromF16(F16FromF32(nan))));
    EXPECT_TRUE(std::isnan(F32FromBF16(BF16FromF32(nan))));
  }
  EXPECT_EQ(F32FromF16(F16FromF32(-kInf)), -kInf);
  EXPECT_EQ(F32FromBF16(BF16FromF32(kInf)), kInf);
}

TEST(FloatConvertTest, RangeLimitsOfF16) {
  EXPECT_EQ(F32FromF16(F16FromF32(65504.0f)), 65504.0f);
  EXPECT_EQ(F32FromF16(F16FromF32(65519.0f)), 65504.0f);  // below the tie
  EXPECT_EQ(F32FromF16(F16FromF32(65520.0f)), kInf);      // the tie rounds to even: past the range
  EXPECT_EQ(F16FromF32(0x1.0p-24f), 1);                   // smallest subnormal
  EXPECT_EQ(F16FromF32(0x1.0p-25f), 0);                   // tie to even
  EXPECT_EQ(F16FromF32(0x1.8p-25f), 1);
}

}  // namespace
}  // namespace rondo
