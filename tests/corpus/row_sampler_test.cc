#include <gmock/gmock.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <set>
#include <vector>

#include "base/compressed.h"
#include "base/rng.h"
#include "base/temp_dir.h"
#include "corpus/permutation.h"
#include "corpus/token_data.h"
#include "engine/letter_tokenizer.h"
#include "rondo/error.h"
#include "rondo/thread_pool.h"

namespace rondo {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;

TEST(Permutation, IsOneForAnySizeAndSeed) {
  for (const uint64_t size : {1, 2, 3, 4, 5, 17, 64, 1000, 4097}) {
    for (const uint64_t seed : {0, 1, 2}) {
      const Permutation permutation(size, seed);
      std::set<uint64_t> seen;
      for (uint64_t i = 0; i < size; ++i) seen.insert(permutation(i));
      EXPECT_EQ(seen.size(), size);
      EXPECT_EQ(*seen.rbegin(), size - 1);
    }
  }
}

// Chi-squared of where each tenth of the numbers lands, over seeds: 81 degrees of freedom, so mean
// 81 and standard deviation 12.7 for each seed; the mean of 50 seeds stays within five deviations.
TEST(Permutation, SpreadsNumbersEvenly) {
  constexpr uint64_t kSize = 10000, kSeeds = 50;
  double sum = 0;
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    std::map<std::pair<uint64_t, uint64_t>, int> counts;
    const Permutation permutation(kSize, seed);
    for (uint64_t i = 0; i < kSize; ++i) ++counts[{i / 1000, permutation(i) / 1000}];
    for (uint64_t cell = 0; cell < 100; ++cell) {
      const double difference = counts[{cell / 10, cell % 10}] - 100.0;
      sum += difference * difference / 100;
    }
  }
  EXPECT_NEAR(sum / kSeeds, 81, 5 * 12.7 / std::sqrt(double{kSeeds}));
}

class Sampler : public testing::Test {
 protected:
  // Documents of these lengths, end token included.
  std::shared_ptr<const TokenData> Data(const std::vector<int>& lengths) {
    std::string text;
    Rng rng(1);
    for (const int length : lengths) {
      for (int i = 0; i < length - 1; ++i) text += static_cast<char>('a' + rng.Next() % 25);
      text += '\n';
    }
    Put(dir_.File("a.txt"), text);
    ThreadPool pool(1);
    return OpenCorpus({.files = {dir_.File("a.txt")}, .unit = DocumentUnit::kLine},
                      LetterTokenizer(), dir_.File("cache"), pool)
        .train;
  }
  std::vector<int> RandomLengths(int count) {
    Rng rng(2);
    std::vector<int> lengths;
    for (int i = 0; i < count; ++i) lengths.push_back(2 + static_cast<int>(rng.Next() % 50));
    return lengths;
  }
  TempDir dir_;
};

std::vector<int32_t> RowTokens(const TokenBatch& batch) { return batch.tokens; }

TEST_F(Sampler, PackedRowsFollowEachOtherWithOneTokenInCommon) {
  const auto data = Data({3, 4, 6});  // borders at 3 and 7
  const RowSampler sampler(data, {.length = 4, .shuffle = false});
  ASSERT_EQ(sampler.rows_per_epoch(), 3);
  EXPECT_EQ(sampler.tokens_per_epoch(), 12);
  const auto all = data->Tokens();
  for (int64_t row = 0; row < 3; ++row) {
    const std::vector<int32_t> expected(all.begin() + row * 4, all.begin() + row * 4 + 5);
    EXPECT_EQ(sampler.Row(row).tokens, expected);
  }
  EXPECT_THAT(sampler.Row(0).document, ElementsAre(0, 0, 0, 1, 1));
  EXPECT_THAT(sampler.Row(1).document, ElementsAre(0, 0, 0, 1, 1));
  EXPECT_THAT(sampler.Row(2).document, ElementsAre(0, 0, 0, 0, 0));
  EXPECT_TRUE(sampler.Row(1).HasBorder(0));
  EXPECT_FALSE(sampler.Row(2).HasBorder(0));
}

TEST_F(Sampler, RowsWithinDocumentsNeverCrossABorder) {
  const auto data = Data({3, 9, 5, 6, 2, 14});
  const RowSampler sampler(data, {.length = 4, .rows = RowKind::kWithinDocument});
  // (length - 1) / 4 rows of each document: 0 2 1 1 0 3.
  ASSERT_EQ(sampler.rows_per_epoch(), 7);
  const auto all = data->Tokens();
  const std::vector<int> begins = {3, 7, 12, 17, 25, 29, 33};
  for (size_t row = 0; row < begins.size(); ++row) {
    const auto begin = all.begin() + begins[row];
    const TokenBatch batch = sampler.Row(static_cast<int64_t>(row));
    EXPECT_EQ(batch.tokens, std::vector<int32_t>(begin, begin + 5)) << row;
    EXPECT_FALSE(batch.HasBorder(0));
  }
}

TEST_F(Sampler, RowsFromDocumentStartsUseNoTokenTwice) {
  const auto data = Data({3, 9, 5, 5, 2, 2, 3});
  const RowSampler sampler(data, {.length = 4, .rows = RowKind::kDocumentStart});
  const auto all = data->Tokens();
  const std::vector<int> begins = {0, 12, 17, 22};  // documents 0, 2, 3, 4
  ASSERT_EQ(sampler.rows_per_epoch(), std::ssize(begins));
  for (size_t row = 0; row < begins.size(); ++row) {
    const auto begin = all.begin() + begins[row];
    EXPECT_EQ(sampler.Row(static_cast<int64_t>(row)).tokens, std::vector<int32_t>(begin, begin + 5))
        << row;
  }
  EXPECT_THAT(sampler.Row(0).document, ElementsAre(0, 0, 0, 1, 1));
  EXPECT_THAT(sampler.Row(3).document, ElementsAre(0, 0, 1, 1, 2));
}

// Marks every predicted position of an epoch, for all kinds of rows.
TEST_F(Sampler, AnEpochPredictsEveryTokenAtMostOnce) {
  const auto data = Data(RandomLengths(300));
  for (const RowKind kind : {RowKind::kPacked, RowKind::kWithinDocument, RowKind::kDocumentStart}) {
    for (const int length : {1, 7, 16}) {
      RowSampler sampler(data, {.length = length, .rows = kind, .seed = 5});
      const int64_t rows = sampler.rows_per_epoch();
      std::set<int64_t> seen;
      for (int64_t i = 0; i < rows; ++i) seen.insert(sampler.Next(1).row_ids[0]);
      EXPECT_EQ(std::ssize(seen), rows) << Name(kind);
      EXPECT_EQ(sampler.epochs_done(), 1.0);
      // Stored rows overlap in no predicted token: their token sequences tile the data.
      int64_t covered = 0;
      const auto all = data->Tokens();
      auto from = all.begin();
      for (int64_t i = 0; i < rows; ++i) {
        const auto tokens = sampler.Row(i).tokens;
        from = std::search(from, all.end(), tokens.begin(), tokens.end());
        ASSERT_NE(from, all.end()) << Name(kind) << " row " << i;
        from += length;
        covered += length;
      }
      EXPECT_EQ(covered, sampler.tokens_per_epoch());
      EXPECT_LE(covered, data->tokens() - 1);
    }
  }
}

TEST_F(Sampler, SeedAndEpochDecideTheOrder) {
  const auto data = Data(RandomLengths(100));
  const auto order = [&](uint64_t seed, int epochs) {
    RowSampler sampler(data, {.length = 8, .seed = seed});
    std::vector<int64_t> ids;
    for (int64_t i = 0; i < epochs * sampler.rows_per_epoch(); ++i) {
      ids.push_back(sampler.Next(1).row_ids[0]);
    }
    return ids;
  };
  const auto ids = order(1, 2);
  const auto half = ids.begin() + std::ssize(ids) / 2;
  EXPECT_EQ(order(1, 2), ids);
  EXPECT_NE(order(2, 2), ids);
  EXPECT_FALSE(std::equal(ids.begin(), half, half));
  EXPECT_FALSE(std::is_sorted(ids.begin(), half));
  RowSampler plain(data, {.length = 8, .shuffle = false});
  EXPECT_THAT(plain.Next(3).row_ids, ElementsAre(0, 1, 2));
}

TEST_F(Sampler, AStateContinuesExactlyAlsoAcrossEpochsAndBatchSizes) {
  const auto data = Data(RandomLengths(40));
  const SamplerOptions options{.length = 8, .seed = 3};
  RowSampler straight(data, options);
  for (int i = 0; i < 60; ++i) {
    RowSampler resumed(data, options);
    resumed.Restore(straight.state());
    const TokenBatch expected = straight.Next(6);
    RowSampler halves(data, options);
    halves.Restore(resumed.state());
    EXPECT_EQ(RowTokens(resumed.Next(6)), expected.tokens);
    EXPECT_EQ(resumed.state(), straight.state());
    auto ids = halves.Next(4).row_ids;
    for (const int64_t id : halves.Next(2).row_ids) ids.push_back(id);
    EXPECT_EQ(ids, expected.row_ids);
  }
  EXPECT_GT(straight.epochs_done(), 2);
}

TEST_F(Sampler, RefusesStatesOfOtherDataAndRowsThatDoNotExist) {
  const auto data = Data({9, 9});
  RowSampler sampler(data, {.length = 4});
  for (const SamplerOptions& other : {SamplerOptions{.length = 5},
                                      {.length = 4, .seed = 1},
                                      {.length = 4, .rows = RowKind::kWithinDocument},
                                      {.length = 4, .shuffle = false}}) {
    EXPECT_THAT([&] { sampler.Restore(RowSampler(data, other).state()); },
                ThrowsMessage<Error>(HasSubstr("other data")));
  }
  for (const RowKind kind : {RowKind::kPacked, RowKind::kWithinDocument, RowKind::kDocumentStart}) {
    EXPECT_THAT([&] { RowSampler(data, {.length = 18, .rows = kind}); },
                ThrowsMessage<Error>(HasSubstr("of 19 tokens in 2 documents of 18 tokens")));
  }
  EXPECT_NO_THROW(RowSampler(data, {.length = 17}));
  EXPECT_THAT([&] { RowSampler(data, {.length = 0}); }, ThrowsMessage<Error>(HasSubstr("length")));
  EXPECT_THROW(sampler.Next(0), Error);
  EXPECT_THROW(sampler.Row(-1), Error);
  EXPECT_THROW(sampler.Row(sampler.rows_per_epoch()), Error);
  EXPECT_THAT([] { RowKindFromName("pakced"); },
              ThrowsMessage<Error>(HasSubstr("did you mean 'packed'")));
}

}  // namespace
}  // namespace rondo
