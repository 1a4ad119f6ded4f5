#include "tensor/quant_blocks.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "base/file.h"
#include "rondo/error.h"
#include "rondo/tensor.h"

namespace rondo {
namespace {

// Blocks of random bits, then their values by the reference implementation (tests/data/quant).
struct Fixture {
  std::vector<std::byte> blocks;
  std::vector<float> values;
};

Fixture Load(DType dtype) {
  const DTypeInfo& info = Info(dtype);
  const std::string bytes =
      ReadTextFile(std::string(RONDO_TEST_DATA) + "/quant/" + std::string(info.name) + ".bin");
  const size_t block_bytes = static_cast<size_t>(info.block_bytes);
  const size_t value_bytes = static_cast<size_t>(info.block_length) * sizeof(float);
  const size_t count = bytes.size() / (block_bytes + value_bytes);
  Fixture fixture;
  fixture.blocks.resize(count * block_bytes);
  fixture.values.resize(count * static_cast<size_t>(info.block_length));
  std::memcpy(fixture.blocks.data(), bytes.data(), fixture.blocks.size());
  std::memcpy(fixture.values.data(), bytes.data() + fixture.blocks.size(), count * value_bytes);
  return fixture;
}

class QuantBlocks : public testing::TestWithParam<DType> {};

TEST_P(QuantBlocks, DecodeExactlyLikeTheReference) {
  const Fixture fixture = Load(GetParam());
  ASSERT_GE(fixture.values.size(), 192u);
  std::vector<float> out(fixture.values.size());
  DecodeBlocks(GetParam(), fixture.blocks.data(), static_cast<int64_t>(out.size()), out.data());
  for (size_t i = 0; i < out.size(); ++i) ASSERT_EQ(out[i], fixture.values[i]) << "element " << i;
}

TEST_P(QuantBlocks, RowsOfATensorAreDecodedAndGatheredOneByOne) {
  const Fixture fixture = Load(GetParam());
  const int64_t length = Info(GetParam()).block_length;
  const int64_t rows = static_cast<int64_t>(fixture.values.size()) / length;
  const Tensor tensor = Tensor::FromBytes(GetParam(), {rows, length}, fixture.blocks);
  const std::vector<int64_t> order = {rows - 1, 0};
  const std::vector<float> picked = ToF32(GatherRows(tensor, order));
  for (size_t i = 0; i < order.size(); ++i) {
    std::vector<float> row(static_cast<size_t>(length));
    RowToF32(tensor, order[i], row.data());
    EXPECT_TRUE(std::equal(row.begin(), row.end(), fixture.values.begin() + order[i] * length));
    EXPECT_TRUE(std::equal(row.begin(), row.end(),
                           picked.begin() + static_cast<std::ptrdiff_t>(i) * length));
  }
}

INSTANTIATE_TEST_SUITE_P(AllTypes, QuantBlocks,
                         testing::Values(DType::kQ8_0, DType::kQ4_0, DType::kQ4_1, DType::kQ5_0,
                                         DType::kQ5_1, DType::kQ4_K, DType::kQ5_K, DType::kQ6_K,
                                         DType::kQ2_K, DType::kQ3_K, DType::kIQ4_NL, DType::kIQ4_XS,
                                         DType::kMXFP4),
                         [](const auto& type) { return std::string(Info(type.param).name); });

TEST(QuantBlocksTest, TypesOfOtherProgramsAreReadAndNotWritten) {
  EXPECT_TRUE(CanEncode(DType::kQ6_K));
  const Tensor values = Tensor::FromF32({1, 256}, std::vector<float>(256, 1.0f));
  for (const DType dtype :
       {DType::kQ2_K, DType::kQ3_K, DType::kIQ4_NL, DType::kIQ4_XS, DType::kMXFP4}) {
    EXPECT_FALSE(CanEncode(dtype));
    EXPECT_THROW(Cast(values, dtype), Error) << Info(dtype).name;
    EXPECT_THROW(DTypeFromName(Info(dtype).name), Error);
  }
}

TEST(QuantBlocksTest, DoublesAreRoundedToFloats) {
  const double values[] = {1, -0.1, 1e-310, 1e300};
  const Tensor tensor = Tensor::FromF64Bytes({2, 2}, std::as_bytes(std::span(values)));
  EXPECT_EQ(tensor.dtype(), DType::kF32);
  EXPECT_EQ(tensor.f32()[0], 1.0f);
  EXPECT_EQ(tensor.f32()[1], -0.1f);
  EXPECT_EQ(tensor.f32()[2], 0.0f);
  EXPECT_EQ(tensor.f32()[3], std::numeric_limits<float>::infinity());
  EXPECT_THROW(Tensor::FromF64Bytes({3, 2}, std::as_bytes(std::span(values))), Error);
}

TEST(QuantBlocksTest, PlainTypesHaveNoBlocks) {
  float out = 0;
  EXPECT_THROW(DecodeBlocks(DType::kF16, nullptr, 1, &out), Error);
}

}  // namespace
}  // namespace rondo
