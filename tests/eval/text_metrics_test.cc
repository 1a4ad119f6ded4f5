#include "eval/text_metrics.h"

#include <gtest/gtest.h>

#include <vector>

#include "rondo/error.h"

namespace rondo {
namespace {

TEST(EditCountsTest, CountsTheFewestEdits) {
  const EditCounts edits = WordEdits("the cat sat on the big mat", "the cat sit on big mat today");
  EXPECT_EQ(edits.Reference(), 7);
  EXPECT_EQ(edits.hits, 5);
  EXPECT_EQ(edits.substitutions, 1);
  EXPECT_EQ(edits.deletions, 1);
  EXPECT_EQ(edits.insertions, 1);
  EXPECT_DOUBLE_EQ(edits.Rate(), 3.0 / 7);
  EXPECT_EQ(WordEdits("", "a b").insertions, 2);
  EXPECT_EQ(WordEdits("a b", "").deletions, 2);
  EXPECT_EQ(WordEdits("", "").Rate(), 0);
  EXPECT_EQ(CharacterEdits("über", "uber").substitutions, 1);
  EXPECT_EQ(CharacterEdits("über", "uber").Reference(), 4);
}

TEST(BleuTest, IdenticalAndDifferentTexts) {
  const std::vector<std::string> a = {"The quick brown fox jumps over the lazy dog."};
  const std::vector<std::string> b = {"Nothing alike"};
  EXPECT_DOUBLE_EQ(Bleu(a, a), 100);
  EXPECT_DOUBLE_EQ(ChrF(a, a), 100);
  EXPECT_EQ(Bleu(a, b), 0);
  EXPECT_THROW(Bleu(a, {}), Error);
}

TEST(TextMetricsTest, EverySpaceOfUnicodeSeparatesWords) {
  const std::vector<std::string> plain = {"Est-ce que le bateau part demain ?"};
  for (const char* space : {"\u00a0", "\u202f", "\u3000", "\u2028", "\u0085", "\x1c"}) {
    std::string odd = plain[0];
    odd.replace(odd.rfind(' '), 1, space);
    EXPECT_NEAR(Bleu(plain, std::vector{odd}), 100, 1e-9) << odd;
    EXPECT_NEAR(ChrF(plain, std::vector{odd}), 100, 1e-9) << odd;
    EXPECT_EQ(CharacterEdits(plain[0], space + plain[0] + space).Errors(), 0);
  }
}

// As jiwer does: only runs of white space are the same as a space.
TEST(TextMetricsTest, ASingleOddSpaceJoinsWordsOfAnErrorRate) {
  EXPECT_EQ(WordEdits("a b", "a\u00a0b").Errors(), 2);
  EXPECT_EQ(WordEdits("a b", "a\u00a0\u00a0b").Errors(), 0);
  EXPECT_EQ(WordEdits("a b", "\u00a0a \t b\n").Errors(), 0);
  EXPECT_EQ(WordEdits("a\tb c", "a\tb  c").Errors(), 0);
}

}  // namespace
}  // namespace rondo
