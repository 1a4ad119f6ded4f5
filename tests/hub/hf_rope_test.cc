// Rotary scalings in all the spellings that config.json has had for them. The numbers are those of
// transformers' modeling_rope_utils.
#include "hub/hf_rope.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "hub/hf_config.h"

namespace rondo {
namespace {

using nlohmann::json;

json Base(const char* family = "llama") {
  return {{"model_type", family},           {"vocab_size", 320},      {"hidden_size", 64},
          {"intermediate_size", 96},        {"num_hidden_layers", 2}, {"num_attention_heads", 4},
          {"max_position_embeddings", 512}, {"rope_theta", 20000.0}};
}

ModelConfig ReadWith(const json& changes, const char* family = "llama") {
  json config = Base(family);
  config.update(changes);
  return HfConfigFromJson(config, "f");
}

json Yarn() {
  return {{"type", "yarn"}, {"factor", 4.0}, {"original_max_position_embeddings", 256}};
}

json LongRope(const char* type) {
  return {{"type", type},
          {"short_factor", std::vector<double>(8, 1.0)},
          {"long_factor", std::vector<double>(8, 2.5)}};
}

TEST(HfRope, Yarn) {
  const ModelConfig c = ReadWith({{"rope_scaling", Yarn()}});
  EXPECT_EQ(c.rope_scaling.kind, RopeScalingKind::kYarn);
  EXPECT_EQ(c.rope_scaling.original_max_positions, 256);
  EXPECT_FLOAT_EQ(c.rope_scaling.attention_factor, 1.13862944f);
  EXPECT_EQ(c.max_positions, 1024);  // factor times the original ones

  json other = Yarn();
  other.update({{"mscale", 1.0}, {"mscale_all_dim", 0.5}, {"beta_fast", nullptr}});
  other["finetuned"] = true;
  const ModelConfig scaled = ReadWith({{"rope_scaling", other}});
  EXPECT_FLOAT_EQ(scaled.rope_scaling.attention_factor, 1.06482163f);
  EXPECT_EQ(scaled.rope_scaling.beta_fast, 32);

  // The original positions may stand beside the dictionary, and win there.
  const ModelConfig beside =
      ReadWith({{"rope_scaling", Yarn()}, {"original_max_position_embeddings", 128}});
  EXPECT_EQ(beside.rope_scaling.original_max_positions, 128);
}

TEST(HfRope, DynamicScalingReachesAsFarAsItsFactorSays) {
  const ModelConfig c = ReadWith({{"rope_scaling", {{"rope_type", "dynamic"}, {"factor", 2.0}}}});
  EXPECT_EQ(c.rope_scaling.kind, RopeScalingKind::kDynamic);
  EXPECT_EQ(c.rope_scaling.original_max_positions, 512);
  EXPECT_EQ(c.max_positions, 1024);
}

TEST(HfRope, LongRopeTakesItsFactorFromThePositions) {
  for (const char* type : {"longrope", "su"}) {
    const ModelConfig c =
        ReadWith({{"original_max_position_embeddings", 128}, {"rope_scaling", LongRope(type)}});
    EXPECT_EQ(c.rope_scaling.kind, RopeScalingKind::kLongRope);
    EXPECT_EQ(c.rope_scaling.factor, 4);
    EXPECT_EQ(c.rope_scaling.long_factors, std::vector<float>(8, 2.5f));
    EXPECT_FLOAT_EQ(c.rope_scaling.attention_factor,
                    static_cast<float>(std::sqrt(1 + std::log(4.0) / std::log(128.0))));
  }
}

TEST(HfRope, ScalingsReadBackAsTheyWereWritten) {
  json yarn = Yarn();
  yarn.update({{"beta_fast", 16.0}, {"truncate", false}, {"mscale", 0.7}, {"mscale_all_dim", 0.3}});
  const json dynamic = {{"rope_type", "dynamic"}, {"factor", 3.0}};
  for (const json& scaling : {yarn, LongRope("longrope"), dynamic}) {
    const ModelConfig c = ReadWith({{"rope_scaling", scaling}});
    EXPECT_EQ(HfConfigFromJson(json::parse(HfConfigToJson(c).dump()), "f"), c) << scaling.dump();
  }
}

TEST(HfRope, UnderBothNames) {
  const json scaling = {{"rope_type", "linear"}, {"factor", 4.0}};
  const ModelConfig expected = ReadWith({{"rope_scaling", scaling}});
  json same = scaling;
  same["rope_theta"] = 20000.0;
  EXPECT_EQ(ReadWith({{"rope_scaling", scaling}, {"rope_parameters", same}}), expected);
  EXPECT_EQ(ReadWith({{"rope_scaling", json::object()}, {"rope_parameters", same}}), expected);
  // Where they differ the old name counts, as in transformers.
  testing::internal::CaptureStderr();
  const json other = {{"rope_type", "default"}, {"rope_theta", 5.0}};
  EXPECT_EQ(ReadWith({{"rope_scaling", scaling}, {"rope_parameters", other}}), expected);
  EXPECT_THAT(testing::internal::GetCapturedStderr(),
              testing::HasSubstr("rope_scaling and rope_parameters differ"));
}

TEST(HfRope, ScalingWorksBesideSlidingWindows) {
  const ModelConfig c = ReadWith(
      {{"sliding_window", 64}, {"num_key_value_heads", 2}, {"rope_scaling", Yarn()}}, "mistral");
  EXPECT_EQ(c.rope_scaling.kind, RopeScalingKind::kYarn);
  EXPECT_TRUE(c.IsLocal(0));
}

}  // namespace
}  // namespace rondo
