#include "rondo/error.h"

#include <gmock/gmock.h>

#include <cstdint>

#include "base/checked.h"
#include "base/with_file.h"

namespace rondo {
namespace {

TEST(Error, SaysFileFieldProblemExpectationAndFunction) {
  const Error error({.function = "Read",
                     .problem = "count 9",
                     .expected = "at most 3",
                     .file = "a.bin",
                     .field = "count"});
  EXPECT_STREQ(error.what(), "a.bin: count: count 9 (expected at most 3) [Read]");
  EXPECT_STREQ(Error({.problem = "only this"}).what(), "only this");
}

TEST(Error, ControlCharactersOfHostileNamesAreSpelledOut) {
  const std::string name("a\x1b[2J\0b", 7);
  EXPECT_STREQ(Error({.problem = "tensor " + name + " é"}).what(), "tensor a\\x1b[2J\\x00b é");
}

TEST(WithFile, AddsWhatIsMissingAndKeepsWhatIsThere) {
  const auto thrown = [](const ErrorInfo& info) {
    try {
      WithFile(
          "f", [&] { throw Error(info); }, "field");
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string("nothing thrown");
  };
  EXPECT_EQ(thrown({.problem = "p"}), "f: field: p");
  EXPECT_EQ(thrown({.problem = "p", .field = "inner"}), "f: inner: p");
  EXPECT_EQ(thrown({.problem = "p", .file = "own"}), "own: p");
  EXPECT_EQ(WithFile("f", [] { return 3; }), 3);
}

TEST(Checked, ThrowsExactlyWhereTheResultDoesNotFit) {
  EXPECT_EQ(CheckedMul<int64_t>(1 << 30, 1 << 30), int64_t{1} << 60);
  EXPECT_THROW(CheckedMul<int64_t>(int64_t{1} << 32, int64_t{1} << 31), Error);
  EXPECT_EQ(CheckedAdd<uint64_t>(UINT64_MAX - 1, 1), UINT64_MAX);
  EXPECT_THROW(CheckedAdd<uint64_t>(UINT64_MAX, 1), Error);
  EXPECT_EQ(CheckedCast<int8_t>(-128), -128);
  EXPECT_THROW(CheckedCast<int8_t>(128), Error);
  EXPECT_THROW(CheckedCast<uint64_t>(-1), Error);
}

}  // namespace
}  // namespace rondo
