#include <gtest/gtest.h>

#include <vector>

#include "eval/bench.h"

namespace rondo {
namespace {

// Two blocks of 10 bytes and a head of 5.
std::vector<WeightRead> Reads(std::initializer_list<int> blocks) {
  std::vector<WeightRead> reads;
  for (const int block : blocks) reads.push_back({block, 10});
  reads.push_back({9, 5});
  return reads;
}

TEST(EstimateTraffic, WithoutACacheEveryReadComesFromMemory) {
  const DecodeTraffic traffic = EstimateTraffic(Reads({0, 1, 0, 1}), 0, 1, 0);
  EXPECT_EQ(traffic.memory_weights, 45);
  EXPECT_EQ(traffic.cached_weights, 0);
}

TEST(EstimateTraffic, ABlockThatReturnsAtOnceIsReadFromTheCache) {
  const DecodeTraffic traffic = EstimateTraffic(Reads({0, 0, 1, 1}), 0, 1, 10);
  EXPECT_EQ(traffic.memory_weights, 25);
  EXPECT_EQ(traffic.cached_weights, 20);
}

TEST(EstimateTraffic, ABlockThatReturnsLaterNeedsRoomForWhatIsBetween) {
  EXPECT_EQ(EstimateTraffic(Reads({0, 1, 0, 1}), 0, 1, 19).cached_weights, 0);
  // The second use of each block; the first of the next step has the head between too.
  EXPECT_EQ(EstimateTraffic(Reads({0, 1, 0, 1}), 0, 1, 20).cached_weights, 20);
}

TEST(EstimateTraffic, WhatFitsWholeIsNeverReadFromMemory) {
  const DecodeTraffic traffic = EstimateTraffic(Reads({0, 1}), 0, 1, 25);
  EXPECT_EQ(traffic.memory_weights, 0);
  EXPECT_EQ(traffic.cached_weights, 25);
}

TEST(EstimateTraffic, SequencesShareWeightsButNotKeysAndValues) {
  const DecodeTraffic traffic = EstimateTraffic(Reads({0, 1}), 7, 5, 0);
  EXPECT_EQ(traffic.memory_weights, 5);
  EXPECT_EQ(traffic.kv, 7);
  EXPECT_EQ(traffic.BytesPerToken(), 12);
}

TEST(BenchResult, TheCeilingAddsBothKindsOfReads) {
  BenchResult result;
  EXPECT_EQ(result.CeilingTokensPerSecond(), 0);
  result.memory_bytes_per_second = 100;
  result.cache_bytes_per_second = 400;
  result.traffic = {.memory_weights = 30, .cached_weights = 80, .kv = 20};
  EXPECT_DOUBLE_EQ(result.CeilingTokensPerSecond(), 1 / (0.5 + 0.2));
}

}  // namespace
}  // namespace rondo
