#include "cli/output.h"

#include <gmock/gmock.h>

#include <limits>

namespace rondo::cli {
namespace {

TEST(Output, TextAndJsonCarryTheSameValues) {
  Output out;
  out.Add("perplexity", 18.85);
  out.Add("tokens", 8184);
  out.Add("model", "a \"b\"\n");
  out.Add("tied", true);
  out.AddJson("plan", "{\"format\":1}");
  EXPECT_EQ(out.Json(),
            "{\"perplexity\": 18.85, \"tokens\": 8184, \"model\": \"a \\\"b\\\"\\n\", "
            "\"tied\": true, \"plan\": {\"format\":1}}");
  EXPECT_THAT(out.Text(), ::testing::HasSubstr("tokens      8,184\n"));
  EXPECT_THAT(out.Text(), ::testing::Not(::testing::HasSubstr("plan")));
}

TEST(Output, WhatJsonCannotHoldBecomesNull) {
  Output out;
  out.Add("perplexity", std::numeric_limits<double>::infinity());
  out.Add("nll", std::numeric_limits<double>::quiet_NaN());
  EXPECT_EQ(out.Json(), "{\"perplexity\": null, \"nll\": null}");
}

TEST(Output, ArraysBecomeJson) {
  Output first, second;
  first.Add("loops", 1);
  second.Add("loops", 2);
  EXPECT_EQ(JsonArray(std::vector<Output>{first, second}), "[{\"loops\": 1}, {\"loops\": 2}]");
  EXPECT_EQ(JsonArray(std::vector<double>{0.5, std::numeric_limits<double>::infinity()}),
            "[0.5, null]");
  EXPECT_EQ(JsonArray(std::vector<int>{}), "[]");
}

TEST(Output, BrokenUtf8DoesNotThrow) {
  Output out;
  out.Add("text", std::string("\xff ok"));
  EXPECT_THAT(out.Json(), ::testing::HasSubstr(" ok"));
}

}  // namespace
}  // namespace rondo::cli
