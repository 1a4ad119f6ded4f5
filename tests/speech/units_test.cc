#include <gtest/gtest.h>

#include "rondo/speech_units.h"

namespace rondo {
namespace {

TEST(PlainTextTest, KeepsLettersAndInnerApostrophes) {
  EXPECT_EQ(PlainText("  Don't STOP, now! "), "don't stop now");
  EXPECT_EQ(PlainText("Émile’s \"ÜBUNG\" -- 42"), "émile's übung 42");
  EXPECT_EQ(PlainText("'quoted' rock 'n' roll"), "quoted rock n roll");
  EXPECT_EQ(PlainText("Wa ámitúúngá obia itsωώ s' éléngé"), "wa ámitúúngá obia itsωώ s éléngé");
  EXPECT_EQ(PlainText("..."), "");
  EXPECT_EQ(SingleSpaces(" A\tb \n c "), "A b c");
}

TEST(SpeechUnitsTest, Characters) {
  const std::vector<std::string> texts = {"ab é", "ba"};
  UnitConfig config{.lower = true, .list = CharactersOf(texts)};
  EXPECT_EQ(config.list, (std::vector<std::string>{" ", "a", "b", "é"}));
  config.count = kFirstTextUnit + 4;
  const auto units = MakeSpeechUnits(config, {});
  EXPECT_EQ(units->Encode("A, é"), (std::vector<int32_t>{6, 5, 8}));
  EXPECT_EQ(units->Encode("az"), (std::vector<int32_t>{6, kUnknownUnit}));
  const std::vector<int32_t> ids = {kBlankUnit, 6, 5, kEndUnit, 8, 99};
  EXPECT_EQ(units->Decode(ids), "a é");
}

}  // namespace
}  // namespace rondo
