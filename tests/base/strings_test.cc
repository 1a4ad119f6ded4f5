#include "base/strings.h"

#include <gmock/gmock.h>

#include <cstdint>

namespace rondo {
namespace {

using testing::ElementsAre;

TEST(Strings, SplitKeepsEmptyPartsAndJoinUndoesIt) {
  EXPECT_THAT(Split("a,,b,", ','), ElementsAre("a", "", "b", ""));
  EXPECT_THAT(Split("", ','), ElementsAre(""));
  EXPECT_EQ(Join(Split("a,,b,", ','), ","), "a,,b,");
  EXPECT_EQ(Join({}, ", "), "");
}

TEST(Strings, TrimRemovesWhitespaceOfBothEnds) {
  EXPECT_EQ(Trim(" \t a b\r\n"), "a b");
  EXPECT_EQ(Trim(" \n "), "");
  EXPECT_EQ(Trim(""), "");
}

TEST(Strings, NearestNameFindsTyposAndNothingElse) {
  const std::vector<std::string> names = {"cycle", "sequence", "middle-cycle", "middle-sequence"};
  EXPECT_EQ(NearestName("cylce", names), "cycle");
  EXPECT_EQ(NearestName("middle_sequence", names), "middle-sequence");
  EXPECT_EQ(NearestName("seq", names), "");
  EXPECT_EQ(NearestName("", names), "");
  EXPECT_EQ(NearestName("foo", std::vector<std::string>{"q", "o", "up"}), "");
  EXPECT_EQ(UnknownNameHint("cycel", names),
            "one of cycle, sequence, middle-cycle, middle-sequence; did you mean 'cycle'?");
  EXPECT_EQ(UnknownNameHint("banana", names),
            "one of cycle, sequence, middle-cycle, middle-sequence");
}

TEST(Strings, ThousandsAreSeparated) {
  EXPECT_EQ(WithThousands(0), "0");
  EXPECT_EQ(WithThousands(999), "999");
  EXPECT_EQ(WithThousands(1000), "1,000");
  EXPECT_EQ(WithThousands(134515008), "134,515,008");
  EXPECT_EQ(WithThousands(-1234567), "-1,234,567");
  EXPECT_EQ(WithThousands(INT64_MIN), "-9,223,372,036,854,775,808");
}

TEST(Strings, BytesGetTheirUnit) {
  EXPECT_EQ(HumanBytes(0), "0 B");
  EXPECT_EQ(HumanBytes(1023), "1023 B");
  EXPECT_EQ(HumanBytes(1536), "1.5 KiB");
  EXPECT_EQ(HumanBytes(uint64_t{3} << 30), "3.0 GiB");
  EXPECT_EQ(HumanBytes(UINT64_MAX), "16777216.0 TiB");
}

}  // namespace
}  // namespace rondo
