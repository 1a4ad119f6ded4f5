#include "text/unicode/text_source.h"

#include <string>
#include <vector>

#include "text/text_testing.h"

namespace rondo {
namespace {

const char kText[] = "Est-ce loin ?\nNa\u00efve \u4f60\u597d \U0001F44D.\n";

// `text`, which is UTF-8, in units of two or four bytes.
std::string Wide(const std::string& text, size_t size, bool big) {
  std::string out;
  const auto unit = [&](char32_t value) {
    for (size_t i = 0; i < size; ++i) {
      out += static_cast<char>(value >> (8 * (big ? size - 1 - i : i)) & 0xFF);
    }
  };
  unit(0xFEFF);
  for (size_t i = 0; i < text.size();) {
    const Utf8Step step = NextUtf8(text, i);
    i += static_cast<size_t>(step.length);
    if (size == 2 && step.code >= 0x10000) {
      unit(0xD800 + ((step.code - 0x10000) >> 10));
      unit(0xDC00 + ((step.code - 0x10000) & 0x3FF));
    } else {
      unit(step.code);
    }
  }
  return out;
}

class TextSourceTest : public testing::Test {
 protected:
  std::string Read(const std::string& bytes) {
    WriteFile(dir_.File("a.txt"), bytes);
    return ReadText(dir_.File("a.txt"));
  }
  void Refuses(const std::string& bytes, const std::vector<std::string>& parts) {
    for (const std::string& part : parts) ExpectError([&] { Read(bytes); }, part);
  }
  TempDir dir_;
};

TEST_F(TextSourceTest, Utf8StaysAsItIs) {
  for (const std::string text :
       {"", "a", kText, "\uFEFFwith a mark", "a\r\nb", "some\0zero\0bytes in a text"}) {
    EXPECT_EQ(Read(text), text);
  }
  const std::string zeros("nul \0 byte in a longer text", 26);
  EXPECT_EQ(Read(zeros), zeros);
}

TEST_F(TextSourceTest, WideTextIsKnownByItsMarkAndRefused) {
  for (const bool big : {false, true}) {
    Refuses(Wide(kText, 2, big), {"not UTF-8", "byte order mark of UTF-16", "iconv"});
    Refuses(Wide(kText, 4, big), {"not UTF-8", "byte order mark of UTF-32"});
  }
}

TEST_F(TextSourceTest, CharactersMayCrossPieces) {
  for (size_t pad = 0; pad < 4; ++pad) {
    std::string text(pad, 'x');
    while (text.size() < 200'000) text += "\U0001F44D\u4f60\u00ef";
    EXPECT_TRUE(Read(text) == text);
  }
}

TEST_F(TextSourceTest, RefusesWhatIsNoText) {
  Refuses("line one\nCaf\xE9 na\xEFve\n",
          {"a.txt", "line 2", "not UTF-8: 0xE9 at byte 12", "LATIN1"});
  Refuses(std::string(100'000, 'a') + "\xFF b", {"not UTF-8: 0xFF at byte 100000", "line 1"});
  Refuses("cut in a character \xE4\xBD", {"not UTF-8: 0xE4 at byte 19"});
  Refuses("PK\x03\x04 and so on", {"zip archive", "UTF-8"});
  Refuses("%PDF-1.7", {"PDF", "UTF-8"});
  Refuses("GGUF\x03", {"GGUF", "UTF-8"});
  Refuses(Wide("text without its mark", 2, false).substr(2), {"UTF-16", "mark", "UTF-8"});
  Refuses(Wide("text without its mark", 4, true).substr(4), {"UTF-32", "mark"});
}

TEST_F(TextSourceTest, TooMuchIsRefused) {
  WriteFile(dir_.File("b.txt"), std::string(5000, 'a'));
  EXPECT_EQ(ReadText(dir_.File("b.txt"), 5000).size(), 5000u);
  ExpectError([&] { ReadText(dir_.File("b.txt"), 4999); }, "4999");
  ExpectError([&] { ReadText(dir_.File("absent.txt")); }, "absent.txt");
}

TEST(CheckUtf8Test, NamesTheFieldAndTheByte) {
  CheckUtf8("fine \u00e9", "--prompt");
  ExpectError([] { CheckUtf8("bad \xE9", "--prompt"); }, "--prompt: not UTF-8: 0xE9 at byte 4");
}

}  // namespace
}  // namespace rondo
