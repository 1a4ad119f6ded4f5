#include "rondo/model_config.h"

#include <gmock/gmock.h>

#include <cmath>
#include <functional>
#include <limits>

#include "model/tiny_config.h"
#include "rondo/error.h"

namespace rondo {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

TEST(ModelConfig, TinyConfigurationsAreValid) {
  EXPECT_NO_THROW(TinyLlamaConfig().Validate());
  EXPECT_NO_THROW(TinyGpt2Config().Validate());
}

struct BadField {
  const char* field;
  std::function<void(ModelConfig&)> spoil;
};

class BadConfig : public testing::TestWithParam<BadField> {};

TEST_P(BadConfig, IsRefusedByName) {
  ModelConfig config = TinyLlamaConfig();
  GetParam().spoil(config);
  EXPECT_THAT([&] { config.Validate(); },
              ThrowsMessage<Error>(HasSubstr(std::string(GetParam().field) + ": value")));
}

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

INSTANTIATE_TEST_SUITE_P(
    Fields, BadConfig,
    testing::Values(BadField{"layers", [](ModelConfig& c) { c.layers = 0; }},
                    BadField{"layers", [](ModelConfig& c) { c.layers = 5000; }},
                    BadField{"d_model", [](ModelConfig& c) { c.d_model = -8; }},
                    BadField{"d_ff", [](ModelConfig& c) { c.d_ff = 1 << 30; }},
                    BadField{"heads", [](ModelConfig& c) { c.heads = 0; }},
                    BadField{"kv_heads", [](ModelConfig& c) { c.kv_heads = 3; }},
                    BadField{"head_dim", [](ModelConfig& c) { c.head_dim = 1 << 23; }},
                    BadField{"vocab", [](ModelConfig& c) { c.vocab = 0; }},
                    BadField{"max_positions", [](ModelConfig& c) { c.max_positions = 0; }},
                    BadField{"norm_eps", [](ModelConfig& c) { c.norm_eps = kNan; }},
                    BadField{"norm_eps", [](ModelConfig& c) { c.norm_eps = -1; }},
                    BadField{"logit_softcap", [](ModelConfig& c) { c.logit_softcap = INFINITY; }},
                    BadField{"attn_scale", [](ModelConfig& c) { c.attn_scale = 0; }},
                    BadField{"embed_scale", [](ModelConfig& c) { c.embed_scale = kNan; }},
                    BadField{"rotary_dim", [](ModelConfig& c) { c.rotary_dim = 4; }},
                    BadField{"rotary_dim", [](ModelConfig& c) { c.rotary_dim = 1; }},
                    BadField{"rope_theta", [](ModelConfig& c) { c.rope_theta = 0; }},
                    BadField{"rope_scaling.factor",
                             [](ModelConfig& c) { c.rope_scaling.factor = 0; }},
                    BadField{"local_layers", [](ModelConfig& c) { c.local_layers = {1}; }},
                    BadField{"sliding_window", [](ModelConfig& c) {
                               c.local_layers = {1, 0, 1, 0};
                             }}));

TEST(ModelConfig, ModulesAndBiasesFollowTheSwitches) {
  const ModelConfig llama = TinyLlamaConfig(), gpt2 = TinyGpt2Config();
  EXPECT_TRUE(llama.HasModule(Module::kGate));
  EXPECT_FALSE(gpt2.HasModule(Module::kGate));
  EXPECT_FALSE(llama.HasModule(Module::kQNorm));
  EXPECT_FALSE(llama.HasModule(Module::kPostFfnNorm));
  EXPECT_FALSE(llama.HasBias(Module::kQ));
  EXPECT_FALSE(llama.HasBias(Module::kAttnNorm));
  EXPECT_TRUE(gpt2.HasBias(Module::kDown));
  EXPECT_TRUE(gpt2.HasBias(Module::kFfnNorm));
  EXPECT_FALSE(gpt2.HasBias(Module::kGate)) << "there is no gate to have one";
}

TEST(ModelConfig, ShapesAreOutByIn) {
  const ModelConfig config = TinyLlamaConfig();
  EXPECT_EQ(config.ModuleShape(Module::kQ), (Shape{8, 8}));
  EXPECT_EQ(config.ModuleShape(Module::kV), (Shape{4, 8}));
  EXPECT_EQ(config.ModuleShape(Module::kUp), (Shape{12, 8}));
  EXPECT_EQ(config.ModuleShape(Module::kDown), (Shape{8, 12}));
  EXPECT_EQ(config.ModuleShape(Module::kKNorm), (Shape{2}));
  EXPECT_EQ(config.ModuleShape(Module::kFfnNorm), (Shape{8}));
}

}  // namespace
}  // namespace rondo
