#include "base/json.h"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "rondo/error.h"

namespace rondo {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Property;
using testing::ThrowsMessage;

auto Says(const std::string& words) { return ThrowsMessage<Error>(HasSubstr(words)); }

std::string Nested(int depth) { return std::string(depth, '[') + std::string(depth, ']'); }

TEST(ParseJson, AcceptsDepthUpToTheLimitAndNamesTheFileBeyond) {
  EXPECT_NO_THROW(ParseJsonChecked(Nested(64), "f"));
  EXPECT_THAT([] { ParseJsonChecked(Nested(65), "deep.json"); },
              ThrowsMessage<Error>(AllOf(HasSubstr("deep.json"), HasSubstr("deeper than 64"))));
}

TEST(ParseJson, AMillionLevelsEndInAnErrorAndNotInAStackOverflow) {
  EXPECT_THAT([] { ParseJsonChecked(std::string(1'000'000, '['), "f"); }, Says("deeper than"));
  std::string objects;
  for (int i = 0; i < 100'000; ++i) objects += "{\"a\":";
  EXPECT_THAT([&] { ParseJsonChecked(objects, "f"); }, Says("deeper than"));
}

TEST(ParseJson, RefusesAKeyGivenTwiceInOneObjectOnly) {
  EXPECT_THAT([] { ParseJsonChecked(R"({"a": 1, "b": {"a": 2}, "a": 3})", "f"); },
              Says("f: a: key occurs twice"));
  EXPECT_NO_THROW(ParseJsonChecked(R"([{"a": 1}, {"a": {"a": 2}}])", "f"));
}

TEST(ParseJson, MalformedTextIsAnErrorOfModestLength) {
  for (const std::string& text :
       {std::string("{"), std::string("{\"a\": 1e999}"), std::string("\"\xff\xfe\""), std::string(),
        std::string("[1] 2"), "\"" + std::string(100'000, 'x')}) {
    try {
      ParseJsonChecked(text, "bad.json");
      FAIL() << text.substr(0, 20);
    } catch (const Error& error) {
      EXPECT_EQ(error.info().file, "bad.json");
      EXPECT_LT(error.info().problem.size(), 400u);
    }
  }
}

class JsonObjectTest : public testing::Test {
 protected:
  nlohmann::json json_ = nlohmann::json::parse(
      R"({"n": 3, "x": 2.5, "huge": 1e15, "wide": 18446744073709551615, "yes": true, "text": "t",
          "none": null, "ints": [1, 2], "mixed": [1, "2"], "inner": {"typo": 1}})");
  JsonObject object_{json_, "Test", "c.json"};
};

TEST_F(JsonObjectTest, ReadsEveryType) {
  EXPECT_EQ(object_.Int("n"), 3);
  EXPECT_EQ(object_.Number("x"), 2.5);
  EXPECT_EQ(object_.Number("n"), 3);
  EXPECT_TRUE(object_.Bool("yes"));
  EXPECT_EQ(object_.String("text"), "t");
  EXPECT_THAT(object_.Ints("ints"), testing::ElementsAre(1, 2));
}

TEST_F(JsonObjectTest, NullAndAbsentTakeTheFallbackOrAreMissing) {
  EXPECT_EQ(object_.Int("none", 7), 7);
  EXPECT_EQ(object_.Int("absent", 8), 8);
  EXPECT_TRUE(object_.Contains("none"));
  EXPECT_FALSE(object_.Contains("absent"));
  EXPECT_THAT([&] { object_.Int("none"); }, Says("c.json: none: missing (expected an integer)"));
}

TEST_F(JsonObjectTest, WrongTypesAndSizesNameTheFieldAndTheValue) {
  EXPECT_THAT([&] { object_.Int("x"); }, Says("c.json: x: 2.5 (expected an integer)"));
  EXPECT_THAT([&] { object_.Int("wide"); }, Says("18446744073709551615"));
  EXPECT_THAT([&] { object_.Int("huge"); }, Says("huge"));
  EXPECT_THAT([&] { object_.Bool("n"); }, Says("n: 3 (expected true or false)"));
  EXPECT_THAT([&] { object_.String("ints"); }, Says("ints: an array (expected a string)"));
  EXPECT_THAT([&] { object_.Ints("mixed"); }, Says("mixed: \"2\""));
  EXPECT_THAT([&] { object_.Object("text"); }, Says("text: \"t\" (expected an object)"));
}

TEST_F(JsonObjectTest, UnknownKeysAreRefusedWithTheNearestKnownOne) {
  JsonObject inner = object_.Object("inner");
  inner.Int("type", 0);
  EXPECT_THAT([&] { inner.RefuseUnknownKeys(); },
              ThrowsMessage<Error>(AllOf(HasSubstr("inner.typo"), HasSubstr("'type'"))));
  constexpr std::string_view kIgnored[] = {"typo"};
  inner.Ignore(kIgnored);
  EXPECT_NO_THROW(inner.RefuseUnknownKeys());
}

}  // namespace
}  // namespace rondo
