#include "base/hash.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

namespace rondo {
namespace {

// Files hold these numbers: another function must come with new format versions.
TEST(HashText, IsXxh3) {
  EXPECT_EQ(HashText(""), 0x2d06800538d394c2u);
  EXPECT_EQ(HashText("a"), 0xe6c632b61e964e1fu);
  EXPECT_EQ(HashText("abc"), 0x78af5f94892f3950u);
}

// An empty view has no address; under sanitizers a read of it would end the test.
TEST(HashText, OfAnEmptyViewReadsNothing) {
  EXPECT_EQ(HashText(std::string_view()), HashText(""));
  EXPECT_EQ(HashBytes({}), HashText(""));
}

TEST(HashBytes, DependsOnEveryByteAndOnTheSeed) {
  std::set<uint64_t> seen;
  for (size_t size : {0, 1, 7, 8, 9, 64, 300}) {
    std::string text(size, 'x');
    seen.insert(HashText(text));
    for (char& c : text) {
      c = 'y';
      seen.insert(HashText(text));
      c = 'x';
    }
  }
  EXPECT_EQ(seen.size(), 7u + 0 + 1 + 7 + 8 + 9 + 64 + 300);
  EXPECT_NE(HashBytes(std::as_bytes(std::span("abc")), 1),
            HashBytes(std::as_bytes(std::span("abc")), 2));
}

}  // namespace
}  // namespace rondo
