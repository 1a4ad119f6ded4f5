// Configurations of Whisper models by Hugging Face.
#include "speech/whisper_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/temp_dir.h"
#include "rondo/error.h"

namespace rondo {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::ThrowsMessage;

json Config() {
  return {{"model_type", "whisper"},      {"vocab_size", 100},     {"d_model", 8},
          {"encoder_layers", 1},          {"decoder_layers", 2},   {"encoder_attention_heads", 2},
          {"decoder_attention_heads", 2}, {"encoder_ffn_dim", 16}, {"decoder_ffn_dim", 16},
          {"decoder_start_token_id", 91}, {"eos_token_id", 90}};
}

class WhisperFiles : public testing::Test {
 protected:
  SpeechModel Load(const json& changes, const json& generation = {}) {
    json config = Config();
    if (!changes.is_null()) config.update(changes);
    WriteTextFile(dir_.File("config.json"), config.dump());
    const std::string file = dir_.File("generation_config.json");
    if (generation.is_null()) {
      std::filesystem::remove(file);
    } else {
      WriteTextFile(file, generation.dump());
    }
    return LoadWhisper(dir_.File(""), LoadParts::kConfig);
  }
  TempDir dir_;
};

TEST_F(WhisperFiles, SuppressedTokensOfTheConfigurationCountWhereNothingElseSaysThem) {
  const json lists = {{"suppress_tokens", {3, 5}}, {"begin_suppress_tokens", {7}}};
  EXPECT_THAT(Load(lists).config.whisper->suppress, ElementsAre(3, 5));
  EXPECT_THAT(Load(lists).config.whisper->suppress_first, ElementsAre(7));
  // generation_config.json alone decides where it is there.
  EXPECT_THAT(Load(lists, {{"suppress_tokens", {9}}}).config.whisper->suppress, ElementsAre(9));
  EXPECT_THAT(Load(lists, {{"suppress_tokens", nullptr}}).config.whisper->suppress, IsEmpty());
  EXPECT_THAT(Load({}).config.whisper->suppress, IsEmpty());
}

TEST_F(WhisperFiles, ErrorsNameTheKeysOfTheFile) {
  const auto expect = [&](const json& changes, const json& generation, const char* words) {
    EXPECT_THAT([&] { Load(changes, generation); },
                ThrowsMessage<Error>(AllOf(HasSubstr("config.json"), HasSubstr(words))));
  };
  expect({{"encoder_layers", 0}}, {}, "encoder_layers: value 0");
  expect({{"decoder_ffn_dim", -3}}, {}, "decoder_ffn_dim: value -3");
  expect({{"max_target_positions", 0}}, {}, "max_target_positions: value 0");
  expect({{"suppress_tokens", {100}}}, {}, "suppress_tokens: token 100");
  expect({}, {{"begin_suppress_tokens", {-2}}}, "begin_suppress_tokens: token -2");
  expect({}, {{"alignment_heads", json::array({{2, 0}})}}, "alignment_heads: layer 2, head 0");
}

TEST_F(WhisperFiles, AHeadOfItsOwnIsPossible) {
  EXPECT_TRUE(Load({}).decoder->config.tied_embeddings);
  EXPECT_FALSE(Load({{"tie_word_embeddings", false}}).decoder->config.tied_embeddings);
}

}  // namespace
}  // namespace rondo
