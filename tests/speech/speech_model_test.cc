#include "rondo/speech_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <variant>

#include "base/file.h"
#include "base/temp_dir.h"
#include "rondo/any_model.h"
#include "rondo/error.h"
#include "speech/random_speech_model.h"
#include "speech/speech_config.h"

namespace rondo {
namespace {

using testing::HasSubstr;

void ExpectSame(const Weights& a, const Weights& b) {
  ASSERT_EQ(a.size(), b.size());
  for (const auto& [name, tensor] : a) {
    EXPECT_EQ(ToF32(tensor), ToF32(b.Get(name))) << name;
  }
}

TEST(SpeechModelTest, RoundTripOfEveryKind) {
  const SpeechShape shapes[] = {
      {},
      {.conv_kernel = 7, .positions = PositionKind::kRope},
      {.share = 1, .ctc = false, .decoder = true},
      {.decoder = true, .transducer = true},
      {.ctc = false, .transducer = true},
  };
  for (const SpeechShape& shape : shapes) {
    const SpeechModel model = RandomSpeechModel(shape);
    const TempDir dir;
    SaveSpeechModel(model, dir.File("m"), DType::kF32);
    EXPECT_TRUE(IsSpeechModel(dir.File("m")));
    const SpeechModel read = LoadSpeechModel(dir.File("m"));
    EXPECT_EQ(read.config, model.config);
    EXPECT_EQ(read.encoder.config, model.encoder.config);
    EXPECT_EQ(read.encoder.plan, model.encoder.plan);
    ExpectSame(read.encoder.weights, model.encoder.weights);
    ExpectSame(read.heads, model.heads);
    ASSERT_EQ(read.decoder.has_value(), model.decoder.has_value());
    if (!model.decoder) continue;
    EXPECT_EQ(read.decoder->config, model.decoder->config);
    EXPECT_EQ(read.decoder->plan, model.decoder->plan);
    ExpectSame(read.decoder->weights, model.decoder->weights);
  }
}

TEST(SpeechModelTest, QuantisedTensorsComeBackAsTheyWereWritten) {
  const SpeechModel model = RandomSpeechModel({.width = 64, .decoder = true});
  TensorTypes types;
  for (const auto& [name, tensor] : JoinWeights(model)) {
    if (tensor.shape().size() == 2 && tensor.cols() % 32 == 0) {
      types[name] = name.starts_with("decoder.") ? DType::kQ8_0 : DType::kQ4_0;
    }
  }
  ASSERT_GT(types.size(), 20u);
  const TempDir dir;
  SaveSpeechModel(model, dir.File("m"), types);
  EXPECT_TRUE(std::filesystem::exists(dir.File("m/model.gguf")));
  EXPECT_FALSE(std::filesystem::exists(dir.File("m/model.safetensors")));
  const Weights read = JoinWeights(LoadSpeechModel(dir.File("m")));
  for (const auto& [name, tensor] : JoinWeights(model)) {
    const Tensor& found = read.Get(name);
    const auto type = types.find(name);
    EXPECT_EQ(found.dtype(), type == types.end() ? DType::kF32 : type->second) << name;
    EXPECT_EQ(found.shape(), tensor.shape()) << name;
    EXPECT_EQ(ToF32(found), ToF32(Cast(tensor, found.dtype()))) << name;
  }
}

std::string FailureOf(const std::string& text) {
  try {
    ParseSpeechConfig(text, "config.json");
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

std::string Replace(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  EXPECT_NE(at, text.npos) << from;
  return text.replace(at, from.size(), to);
}

TEST(SpeechModelTest, ErrorsNameFieldValueAndExpectation) {
  const std::string good = SpeechConfigText(RandomSpeechModel({}));
  EXPECT_THAT(FailureOf(Replace(good, "\"features\": \"kaldi\"", "\"features\": \"kaldy\"")),
              testing::AllOf(HasSubstr("front.features"), HasSubstr("'kaldi'")));
  EXPECT_THAT(FailureOf(Replace(good, "\"heads\": 4", "\"heads\": 3")),
              testing::AllOf(HasSubstr("encoder.heads"), HasSubstr("divisor of d_model (16)")));
  EXPECT_THAT(FailureOf(Replace(good, "\"mel_bins\"", "\"mel_bin\"")), HasSubstr("mel_bins"));
  EXPECT_THAT(
      FailureOf(Replace(good, "\"format\": 1,\n  \"front\"", "\"format\": 9,\n  \"front\"")),
      HasSubstr("version 9"));
  EXPECT_THAT(FailureOf("{\"model_type\": \"rondo\"}"), HasSubstr("speech"));
}

TEST(SpeechModelTest, RefusesWrongTensors) {
  SpeechModel model = RandomSpeechModel({});
  model.heads.Set("ctc.weight", Tensor::FromF32({2, 2}, std::vector<float>(4)));
  EXPECT_THAT(
      [&] { CheckSpeechModel(model); },
      testing::ThrowsMessage<Error>(testing::AllOf(HasSubstr("ctc.weight"), HasSubstr("[9, 16]"))));
  model = RandomSpeechModel({});
  model.heads.Set("front.7.weight", Tensor::FromF32({1}, std::vector<float>(1)));
  EXPECT_THAT([&] { CheckSpeechModel(model); },
              testing::ThrowsMessage<Error>(HasSubstr("front.7.weight")));
  model = RandomSpeechModel({});
  model.config.ctc = false;
  model.heads.Erase("ctc.weight");
  model.heads.Erase("ctc.bias");
  EXPECT_THAT([&] { CheckSpeechModel(model); }, testing::ThrowsMessage<Error>(HasSubstr("head")));
}

TEST(SpeechModelTest, LanguageModelLoaderSaysWhatItIs) {
  const TempDir dir;
  SaveSpeechModel(RandomSpeechModel({}), dir.File("m"), DType::kF32);
  MakeDirectories(dir.File("whisper"));
  for (const char* config : {R"({"model_type": "whisper"})", R"({"suppress_ids_begin": [220]})"}) {
    WriteTextFile(dir.File("whisper/config.json"), config);
    for (const char* model : {"m", "whisper"}) {
      EXPECT_THAT([&] { LoadModel(dir.File(model)); },
                  testing::ThrowsMessage<Error>(HasSubstr("a speech model")));
    }
  }
}

TEST(SpeechModelTest, OneLoaderReadsEitherKind) {
  const TempDir dir;
  const SpeechModel speech = RandomSpeechModel({});
  SaveSpeechModel(speech, dir.File("speech"), DType::kF32);
  const AnyModel read = LoadAnyModel(dir.File("speech"));
  ASSERT_TRUE(std::holds_alternative<SpeechModel>(read));
  EXPECT_EQ(std::get<SpeechModel>(read).encoder.config, speech.encoder.config);
  const AnyModel config = LoadAnyModel(dir.File("speech"), LoadParts::kConfig);
  EXPECT_EQ(std::get<SpeechModel>(config).encoder.weights.size(), 0u);
  const AnyModel language = LoadAnyModel("tests/data/native-v1");
  ASSERT_TRUE(std::holds_alternative<Model>(language));
  EXPECT_GT(std::get<Model>(language).weights.size(), 0u);
  EXPECT_THAT([&] { LoadAnyModel(dir.File("nothing")); },
              testing::ThrowsMessage<Error>(HasSubstr("nothing")));
}

// Share of the unshared encoder in tenths of a percent, and millions in tenths.
int Tenths(double value) { return static_cast<int>(std::lround(value * 10)); }

// Wang and Li 2024: 18 layers of 512 and 2048. The printed 56.7M, 19.3M, 34.0 %, 38.1 %, 21.5 % and
// 15.9 % all come out, to the digit, with biases shared, norms of every layer's own, a final norm
// and diagonals on the square matrices alone.
TEST(ResidualTransformerPlanTest, PublishedSizes) {
  const ModelConfig config = EncoderConfig(18, 512, 2048, 8);
  const auto count = [&](int share, int rank) {
    return CountParameters(
        config,
        ResidualTransformerPlan(config, {.share = share, .rank = rank, .square_diagonal = true}));
  };
  const auto percent = [](const ParameterCount& c) {
    return Tenths(100.0 * static_cast<double>(c.NonEmbedding()) / static_cast<double>(c.logical));
  };
  EXPECT_EQ(Tenths(count(1, 0).NonEmbedding() * 1e-6), 567);
  EXPECT_EQ(Tenths(count(3, 2).NonEmbedding() * 1e-6), 193);
  EXPECT_EQ(percent(count(3, 2)), 340);
  EXPECT_EQ(percent(count(3, 16)), 381);
  EXPECT_EQ(percent(count(6, 16)), 215);
  EXPECT_EQ(percent(count(9, 16)), 159);
  // Diagonals on all six matrices cost a little more.
  EXPECT_EQ(
      percent(CountParameters(config, ResidualTransformerPlan(config, {.share = 3, .rank = 2}))),
      341);
}

TEST(ResidualTransformerPlanTest, SharesAdjacentDepths) {
  const ModelConfig config = EncoderConfig(6, 16, 24, 4);
  const SharingPlan plan = ResidualTransformerPlan(config, {.share = 3, .rank = 2});
  plan.Validate(config);
  EXPECT_EQ(plan[Module::kUp].blocks, (std::vector<int>{0, 0, 0, 1, 1, 1}));
  EXPECT_EQ(plan[Module::kUp].residual, ResidualKind::kLoraDiag);
  EXPECT_EQ(plan[Module::kAttnNorm].blocks, (std::vector<int>{0, 1, 2, 3, 4, 5}));
  const SharingPlan shared = ResidualTransformerPlan(
      config, {.share = 3, .rank = 0, .diagonal = false, .own_norms = false});
  EXPECT_EQ(shared[Module::kAttnNorm].blocks, (std::vector<int>{0, 0, 0, 1, 1, 1}));
  EXPECT_FALSE(shared.HasResiduals());
}

TEST(AttentionContextTest, ChunksCoverTheSequence) {
  const auto chunks = ChunksOf({.chunk = 4, .left_chunks = 1}, 10);
  ASSERT_EQ(chunks.size(), 3u);
  EXPECT_EQ(chunks[2].begin, 8);
  EXPECT_EQ(chunks[2].end, 10);
  EXPECT_EQ(chunks[2].first_key, 4);
  EXPECT_EQ(chunks[2].keys_end, 10);
  const auto whole = ChunksOf({}, 7);
  ASSERT_EQ(whole.size(), 1u);
  EXPECT_EQ(whole[0].keys_end, 7);
  EXPECT_EQ(ChunksOf({.chunk = 4}, 10)[2].first_key, 0);
}

TEST(SpeechConfigTest, PositionsOfFrames) {
  const SpeechConfig config;
  EXPECT_EQ(config.Subsampling(), 4);
  const int64_t expected[] = {0, 1, 1, 1, 1, 2, 2, 2, 2, 3};
  for (int64_t frames = 0; frames < 10; ++frames) {
    EXPECT_EQ(config.Positions(frames), expected[frames]) << frames;
  }
}

}  // namespace
}  // namespace rondo
