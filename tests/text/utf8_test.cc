#include "text/unicode/utf8.h"

#include <gtest/gtest.h>

#include "text/tokenizer/byte_level.h"

namespace rondo {
namespace {

TEST(Utf8Test, ReplacesMaximalSubparts) {
  // Table 3-8 of the Unicode standard.
  EXPECT_EQ(ReplaceInvalidUtf8("\x61\xF1\x80\x80\xE1\x80\xC2\x62\x80\x63\x80\xBF\x64"),
            "a\uFFFD\uFFFD\uFFFDb\uFFFDc\uFFFD\uFFFDd");
  EXPECT_EQ(ReplaceInvalidUtf8("\xED\xA0\x80"), "\uFFFD\uFFFD\uFFFD");  // a surrogate
  EXPECT_EQ(ReplaceInvalidUtf8("\xC0\xAF"), "\uFFFD\uFFFD");            // overlong
}

TEST(Utf8Test, KnowsIncompleteEnds) {
  EXPECT_TRUE(NextUtf8("\xF0\x9F\x91", 0).incomplete);
  EXPECT_FALSE(NextUtf8("\xF0\x9F\x41", 0).incomplete);
  EXPECT_FALSE(NextUtf8("\xFF", 0).incomplete);
}

TEST(Utf8Test, RoundTripsEveryCodePoint) {
  for (char32_t code = 0; code <= 0x10FFFF; ++code) {
    if (code >= 0xD800 && code < 0xE000) continue;
    std::string text;
    AppendUtf8(code, text);
    const Utf8Step step = NextUtf8(text, 0);
    ASSERT_TRUE(step.valid);
    ASSERT_EQ(step.code, code);
    ASSERT_EQ(static_cast<size_t>(step.length), text.size());
  }
}

TEST(ByteLevelTest, RoundTripsEveryByte) {
  std::string bytes;
  for (int byte = 0; byte < 256; ++byte) bytes += static_cast<char>(byte);
  EXPECT_EQ(FromByteLevel(ToByteLevel(bytes)), bytes);
  EXPECT_EQ(ToByteLevel(" a\n"), "ĠaĊ");
  EXPECT_FALSE(FromByteLevel("a b").has_value());
}

TEST(ByteLevelTest, ReadsByteTokens) {
  EXPECT_EQ(ParseByteToken("<0x0A>"), '\n');
  EXPECT_EQ(ByteTokenName('\n'), "<0x0A>");
  EXPECT_FALSE(ParseByteToken("<0x0G>").has_value());
  EXPECT_FALSE(ParseByteToken("<0x0A").has_value());
}

}  // namespace
}  // namespace rondo
