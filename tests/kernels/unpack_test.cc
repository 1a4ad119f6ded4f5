// Rows read back out of packed weights: the values of the file, bit for bit.
#include <gtest/gtest.h>

#include <bit>
#include <vector>

#include "kernels/kernel_testing.h"
#include "kernels/matmul.h"
#include "kernels/quant_testing.h"

namespace rondo {
namespace {

constexpr DType kTypes[] = {DType::kF32,  DType::kF16,  DType::kBF16, DType::kQ8_0, DType::kQ4_0,
                            DType::kQ4_1, DType::kQ5_0, DType::kQ5_1, DType::kQ4_K, DType::kQ5_K,
                            DType::kQ6_K, DType::kQ2_0, DType::kQ2_1, DType::kQ3_0, DType::kQ3_1};

Tensor RandomWeights(DType type, int64_t out, int64_t in) {
  if (IsQuantized(type)) return RandomBlocks(type, out, in, 7);
  return Cast(Tensor::FromF32({out, in}, RandomFloats(out * in, 7)), type);
}

TEST(PackedRows, AreTheTensorsBitForBit) {
  for (const DType type : kTypes) {
    const DType packed_type = type == DType::kF16 ? DType::kF32 : type;
    for (const int64_t out : {1, 16, 35}) {
      const int64_t in = 3 * std::max<int64_t>(Info(type).block_length, 5);
      const Tensor weight = RandomWeights(type, out, in);
      const PackedMatrix packed(weight, packed_type);
      ASSERT_TRUE(packed.Holds(type));
      std::vector<float> expected(static_cast<size_t>(in)), row(expected.size());
      for (int64_t r = 0; r < out; ++r) {
        RowToF32(weight, r, expected.data());
        packed.RowToF32(r, row.data());
        for (size_t i = 0; i < row.size(); ++i) {
          ASSERT_EQ(std::bit_cast<uint32_t>(row[i]), std::bit_cast<uint32_t>(expected[i]))
              << Info(type).name << " row " << r << " of " << out << ", " << i;
        }
      }
    }
  }
}

TEST(PackedRows, KnowWhatWasRounded) {
  const Tensor weight = Tensor::FromF32({4, 64}, RandomFloats(256, 1));
  EXPECT_TRUE(PackedMatrix(weight, DType::kF32).Holds(DType::kBF16));
  EXPECT_FALSE(PackedMatrix(weight, DType::kBF16).Holds(DType::kF32));
  EXPECT_FALSE(PackedMatrix(weight, DType::kBF16).Holds(DType::kF16));
  EXPECT_FALSE(PackedMatrix(weight, DType::kQ8_0).Holds(DType::kF32));
  EXPECT_TRUE(PackedMatrix(weight, DType::kF32).Holds(DType::kQ8_0));
}

}  // namespace
}  // namespace rondo
