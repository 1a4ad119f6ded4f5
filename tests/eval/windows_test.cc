#include "eval/windows.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <vector>

#include "rondo/error.h"

namespace rondo {
namespace {

ModelConfig WithPositions(int positions) {
  ModelConfig config;
  config.max_positions = positions;
  return config;
}

// Which tokens are predicted, counted from the windows the way Perplexity() counts them.
std::vector<int> PredictedCounts(int64_t tokens, const WindowOptions& options) {
  std::vector<int> counts(static_cast<size_t>(tokens), 0);
  for (const Window& w : MakeWindows(tokens, options, WithPositions(1 << 20))) {
    const int64_t first_scored = w.end - w.scored;
    for (int64_t i = std::max(w.begin + 1, first_scored); i < w.end; ++i) {
      ++counts[static_cast<size_t>(i)];
    }
  }
  return counts;
}

TEST(Windows, WithoutOverlapEveryTokenButTheFirstOfEachWindowIsPredictedOnce) {
  const std::vector<int> counts = PredictedCounts(10, {.context = 4});
  EXPECT_THAT(counts, ::testing::ElementsAre(0, 1, 1, 1, 0, 1, 1, 1, 0, 1));
}

TEST(Windows, WithOverlapEveryTokenButTheVeryFirstIsPredictedOnce) {
  const std::vector<int> counts = PredictedCounts(11, {.context = 4, .stride = 2});
  EXPECT_THAT(counts, ::testing::ElementsAre(0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1));
}

TEST(Windows, MaxTokensCutsTheText) {
  const auto windows = MakeWindows(100, {.context = 8, .max_tokens = 16}, WithPositions(64));
  ASSERT_EQ(windows.size(), 2u);
  EXPECT_EQ(windows.back().end, 16);
}

TEST(Windows, ALastWindowOfOneTokenPredictsNothingAndIsDropped) {
  EXPECT_EQ(MakeWindows(9, {.context = 4}, WithPositions(64)).size(), 2u);
}

TEST(Windows, RefusesWhatMakesNoSense) {
  struct Case {
    int64_t tokens;
    WindowOptions options;
    const char* field;
  };
  for (const Case& c :
       {Case{1, {.context = 4}, "text"}, Case{9, {.context = 1}, "context"},
        Case{9, {.context = 65}, "context"}, Case{9, {.context = 4, .stride = 5}, "stride"},
        Case{9, {.context = 4, .stride = -1}, "stride"}}) {
    try {
      MakeWindows(c.tokens, c.options, WithPositions(64));
      ADD_FAILURE() << "accepted a bad " << c.field;
    } catch (const Error& error) {
      EXPECT_EQ(error.info().field, c.field);
    }
  }
}

}  // namespace
}  // namespace rondo
