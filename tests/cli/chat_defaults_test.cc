#include "cli/chat_defaults.h"

#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>

#include "rondo/error.h"

namespace rondo::cli {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::ThrowsMessage;

// What becomes of 0.7 and top_p 0.9 beside such a file.
SamplingOptions Read(const std::string& config) {
  const std::string folder = testing::TempDir() + "generation_config";
  std::filesystem::create_directories(folder);
  std::ofstream(folder + "/generation_config.json") << config;
  SamplingOptions sampling = {.temperature = 0.7f, .top_p = 0.9f, .seed = 3};
  ReadGenerationConfig(folder, &sampling);
  EXPECT_EQ(sampling.seed, 3u);
  return sampling;
}

TEST(ChatDefaults, AreTheModelsWhereItNamesAny) {
  const SamplingOptions named = Read(R"({"temperature": 0.6, "top_k": 20, "eos_token_id": [1]})");
  EXPECT_EQ(named.temperature, 0.6f);
  EXPECT_EQ(named.top_k, 20);
  EXPECT_EQ(named.top_p, 1);
  EXPECT_EQ(Read(R"({"do_sample": false, "temperature": 0.6})").temperature, 0);
}

TEST(ChatDefaults, StayWhereItNamesNone) {
  for (const char* config :
       {"{}", R"({"eos_token_id": 2, "top_k": null})", R"({"repetition_penalty": 1.1})"}) {
    EXPECT_EQ(Read(config).temperature, 0.7f) << config;
    EXPECT_EQ(Read(config).top_p, 0.9f) << config;
  }
  EXPECT_EQ(Read(R"({"repetition_penalty": 1.5})").repetition_penalty, 1.5f);
  SamplingOptions sampling = {.temperature = 0.7f};
  ReadGenerationConfig("no-such-model", &sampling);
  EXPECT_EQ(sampling.temperature, 0.7f);
}

TEST(ChatDefaults, WrongValuesNameFileAndField) {
  EXPECT_THAT(
      [] { Read(R"({"temperature": "hot"})"); },
      ThrowsMessage<Error>(AllOf(HasSubstr("generation_config.json"), HasSubstr("temperature"))));
}

}  // namespace
}  // namespace rondo::cli
