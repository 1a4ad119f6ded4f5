#include "rondo/generate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "engine/engine_testing.h"
#include "engine/letter_tokenizer.h"
#include "rondo/error.h"
#include "rondo/thread_pool.h"

namespace rondo {
namespace {

using testing::ElementsAre;

// A model whose layers add nothing and whose head names the next letter, z followed by a.
Model AlphabetModel() {
  ModelConfig config = SmallConfig();
  config.d_model = config.vocab = 26;
  config.layers = 1;
  Model model{.config = config, .plan = IdentityPlan(config), .weights = {}, .path = {}};
  for (const TensorSpec& spec : ExpectedTensors(config, model.plan)) {
    std::vector<float> values(static_cast<size_t>(ElementCount(spec.shape)));
    const bool embed = spec.name == "embed.weight", head = spec.name == "head.weight";
    for (size_t i = 0; i < 26 && (embed || head); ++i) {
      values[embed ? i * 26 + i : (i + 1) % 26 * 26 + i] = 1;
    }
    if (spec.name == "final_norm.weight") std::fill(values.begin(), values.end(), 1.0f);
    model.weights.Set(spec.name, Tensor::FromF32(spec.shape, std::move(values)));
  }
  return model;
}

class GenerateTest : public testing::Test {
 protected:
  Generation Run(const std::string& prompt, GenerateOptions options, int positions = 64,
                 const TextCallback& callback = {}) {
    options.max_positions = positions;
    return Generate(engine_, tokenizer_, tokenizer_.Encode(prompt, {}), options, callback);
  }
  ThreadPool pool_{1};
  Engine engine_{AlphabetModel(), {}, pool_};
  LetterTokenizer tokenizer_;
};

TEST_F(GenerateTest, WritesOnUntilTheCount) {
  const Generation out = Run("abc", {.max_new_tokens = 5});
  EXPECT_EQ(out.text, "defgh");
  EXPECT_THAT(out.tokens, ElementsAre(3, 4, 5, 6, 7));
  EXPECT_EQ(out.reason, StopReason::kLength);
}

TEST_F(GenerateTest, StopsAtTheEndOfSequence) {
  const Generation out = Run("v", {.max_new_tokens = 50});
  EXPECT_EQ(out.text, "wxy");
  EXPECT_EQ(out.tokens.back(), 25);
  EXPECT_EQ(out.reason, StopReason::kEos);
  EXPECT_EQ(Run("v", {.max_new_tokens = 6, .ignore_eos = true}).text, "wxyzab");
}

TEST_F(GenerateTest, StopsWhenAllPositionsAreTaken) {
  const Generation out = Run("abcd", {.max_new_tokens = 50}, /*positions=*/7);
  EXPECT_EQ(out.text, "efgh");  // positions 4, 5, 6 hold e, f, g
  EXPECT_EQ(out.reason, StopReason::kLength);
}

TEST_F(GenerateTest, StopStringAcrossTokensIsCutOff) {
  std::vector<std::string> pieces;
  const Generation out =
      Run("a", {.max_new_tokens = 50, .stop = {"zzz", "fgh"}}, 64, [&](std::string_view text) {
        pieces.emplace_back(text);
        return true;
      });
  EXPECT_EQ(out.text, "bcde");
  EXPECT_THAT(pieces, ElementsAre("b", "c", "d", "e"));
  EXPECT_EQ(out.reason, StopReason::kStopString);
}

TEST_F(GenerateTest, HeldBackTextIsGivenOutAtTheEnd) {
  EXPECT_EQ(Run("a", {.max_new_tokens = 3, .stop = {"cdz"}}).text, "bcd");
  EXPECT_EQ(Run("v", {.max_new_tokens = 9, .stop = {"xyq"}}).text, "wxy");
}

TEST_F(GenerateTest, CallbackMayEndIt) {
  int calls = 0;
  const Generation out =
      Run("a", {.max_new_tokens = 50}, 64, [&](std::string_view) { return ++calls < 3; });
  EXPECT_EQ(out.text, "bcd");
  EXPECT_EQ(out.reason, StopReason::kCancelled);
}

TEST_F(GenerateTest, RefusesBadInput) {
  EXPECT_THROW(Run("", {}), Error);
  EXPECT_THROW(Run("a", {.max_new_tokens = -1}), Error);
  EXPECT_THROW(Run("a", {.stop = {""}}), Error);
  EXPECT_THROW(Run("abcd", {}, /*positions=*/3), Error);
}

// Every way of cutting a text into pieces gives the same output, and no prefix of the output so far
// ends in a way that later turns out to belong to the stop string.
TEST(StopMatcherTest, AnyPiecesGiveTheSameText) {
  const std::string text = "ab<|e<|end|>tail";
  for (unsigned cuts = 0; cuts < 1u << (text.size() - 1); cuts += 7) {
    StopMatcher matcher({"<|end|>", "nothing"});
    std::string out, piece;
    for (size_t i = 0; i < text.size(); ++i) {
      piece += text[i];
      if (i + 1 < text.size() && !((cuts >> i) & 1u)) continue;
      out += matcher.Push(piece);
      ASSERT_TRUE(std::string("ab<|e").starts_with(out));
      piece.clear();
    }
    EXPECT_EQ(out + matcher.Flush(), "ab<|e");
    EXPECT_TRUE(matcher.stopped());
  }
}

TEST(StopMatcherTest, EarliestOfSeveralWins) {
  StopMatcher matcher({"cd", "bcde"});
  EXPECT_EQ(matcher.Push("abcdef"), "a");
  EXPECT_TRUE(matcher.stopped());
  EXPECT_EQ(matcher.Push("more"), "");
}

}  // namespace
}  // namespace rondo
