#include "rondo/weights.h"

#include <gmock/gmock.h>

#include "model/tiny_config.h"
#include "rondo/error.h"

namespace rondo {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::ThrowsMessage;

Weights ZeroWeights(const ModelConfig& config, const SharingPlan& plan) {
  Weights weights;
  for (const TensorSpec& spec : ExpectedTensors(config, plan)) {
    std::vector<float> zeros(static_cast<size_t>(ElementCount(spec.shape)));
    weights.Set(spec.name, Tensor::FromF32(spec.shape, std::move(zeros)));
  }
  return weights;
}

TEST(Weights, CountsOfAPlainLlamaAreThoseOfArithmetic) {
  const ModelConfig config = TinyLlamaConfig();
  const ParameterCount count = CountParameters(config, IdentityPlan(config));
  // q and o 8*8, k and v 4*8, gate, up and down 12*8, two norms of 8; four layers and the final
  // norm.
  const int64_t layer = 2 * 64 + 2 * 32 + 3 * 96 + 2 * 8;
  EXPECT_EQ(count.shared, 4 * layer + 8);
  EXPECT_EQ(count.logical, 4 * layer + 8);
  EXPECT_EQ(count.residual, 0);
  EXPECT_EQ(count.embedding, 2 * 16 * 8);
  EXPECT_EQ(count.Total(), 4 * layer + 8 + 256);
}

TEST(Weights, CountsOfGpt2IncludeBiasesAndPositionsAndNoHead) {
  const ModelConfig config = TinyGpt2Config();
  const ParameterCount count = CountParameters(config, IdentityPlan(config));
  const int64_t layer = 4 * (64 + 8) + (96 + 12) + (96 + 8) + 2 * 16;
  EXPECT_EQ(count.shared, 4 * layer + 16);
  EXPECT_EQ(count.embedding, 16 * 8 + 32 * 8);
}

TEST(Weights, TiedLinearsCountOnceAndResidualsPerDepth) {
  const ModelConfig config = TinyLlamaConfig();
  SharingPlan plan = IdentityPlan(config);
  for (const Module m : kAllModules) {
    if (IsLinear(m) && config.HasModule(m)) plan[m].blocks = {0, 1, 0, 1};
  }
  plan[Module::kUp].residual = ResidualKind::kLora;
  plan[Module::kUp].ranks = {3, 3, 3, 0};
  plan[Module::kFfnNorm].blocks.assign(4, kAbsorbed);
  plan.Validate(config);
  const ParameterCount count = CountParameters(config, plan);
  EXPECT_EQ(count.shared, 2 * (2 * 64 + 2 * 32 + 3 * 96) + 4 * 8 + 8);
  EXPECT_EQ(count.residual, 3 * 3 * (8 + 12));
  EXPECT_EQ(count.logical, 4 * (2 * 64 + 2 * 32 + 3 * 96 + 2 * 8) + 8);
}

TEST(Weights, EveryResidualKindHasItsParts) {
  const ModelConfig config = TinyLlamaConfig();
  const auto parts = [&](ResidualKind kind, int rank) {
    SharingPlan plan = IdentityPlan(config);
    plan[Module::kUp].blocks = {0, 0, 0, 0};
    plan[Module::kUp].residual = kind;
    if (kind != ResidualKind::kMulDiag) plan[Module::kUp].ranks.assign(4, rank);
    plan.Validate(config);
    std::string out;
    for (const TensorSpec& spec : ExpectedTensors(config, plan)) {
      const std::string prefix = "residual.0.up.";
      if (spec.name.starts_with(prefix)) {
        out += spec.name.substr(prefix.size()) + ToString(spec.shape) + " ";
      }
    }
    return out;
  };
  EXPECT_EQ(parts(ResidualKind::kLora, 3), "a[3, 8] b[12, 3] ");
  EXPECT_EQ(parts(ResidualKind::kLora, 0), "");
  EXPECT_EQ(parts(ResidualKind::kLoraDiag, 3), "a[3, 8] b[12, 3] diag[8] ");
  EXPECT_EQ(parts(ResidualKind::kLoraDiag, 0), "diag[8] ");
  EXPECT_EQ(parts(ResidualKind::kDora, 3), "a[3, 8] b[12, 3] magnitude[12] ");
  EXPECT_EQ(parts(ResidualKind::kMulDiag, 0), "scale[8] ");
  EXPECT_EQ(parts(ResidualKind::kKronecker, 2), "a[2, 3, 4] b[2, 4, 2] ");
}

TEST(Weights, PrefixVectorsAreAKeyAndAValueOfEveryDepth) {
  const ModelConfig config = TinyLlamaConfig();
  SharingPlan plan = IdentityPlan(config);
  plan.prefix = 3;
  EXPECT_TRUE(plan.HasResiduals());
  EXPECT_FALSE(plan.SharesAnything());
  const ParameterCount count = CountParameters(config, plan);
  const int width = config.kv_heads * config.head_dim;
  EXPECT_EQ(count.residual, 2 * 4 * 3 * width);
  EXPECT_EQ(count.shared, CountParameters(config, IdentityPlan(config)).shared);
  const Weights weights = ZeroWeights(config, plan);
  EXPECT_EQ(weights.Get("residual.3.prefix.v").shape(), (Shape{3, width}));
  EXPECT_TRUE(IsPrefixTensor("residual.3.prefix.v"));
  EXPECT_FALSE(IsPrefixTensor("residual.3.v.a"));
}

TEST(Weights, OwnBiasesMoveFromTheBlockToTheDepths) {
  const ModelConfig config = TinyGpt2Config();
  SharingPlan plan = IdentityPlan(config);
  plan[Module::kQ].blocks = {0, 0, 0, 0};
  plan[Module::kQ].own_bias = true;
  const Weights weights = ZeroWeights(config, plan);
  EXPECT_FALSE(weights.Has("blocks.0.q.bias"));
  EXPECT_TRUE(weights.Has("residual.3.q.bias"));
  EXPECT_TRUE(weights.Has("blocks.3.k.bias"));
}

TEST(CheckWeights, NamesWhatIsMissingMisshapenOrSurplus) {
  const ModelConfig config = TinyLlamaConfig();
  const SharingPlan plan = IdentityPlan(config);
  const auto check = [&](auto change) {
    return [&, change] {
      Weights weights = ZeroWeights(config, plan);
      change(weights);
      CheckWeights(config, plan, weights, "m");
    };
  };
  EXPECT_NO_THROW(check([](Weights&) {})());
  EXPECT_THAT(check([](Weights& w) { w.Erase("blocks.2.k.weight"); }),
              ThrowsMessage<Error>(AllOf(HasSubstr("m: blocks.2.k.weight"), HasSubstr("[4, 8]"))));
  EXPECT_THAT(check([](Weights& w) {
                w.Set("embed.weight", Tensor::FromF32({8, 16}, std::vector<float>(128)));
              }),
              ThrowsMessage<Error>(HasSubstr("embed.weight: shape [8, 16] (expected [16, 8])")));
  EXPECT_THAT(check([](Weights& w) {
                w.Set("blocks.4.q.weight", Tensor::FromF32({1}, std::vector<float>(1)));
              }),
              ThrowsMessage<Error>(HasSubstr("blocks.4.q.weight")));
}

TEST(Weights, GetNamesAMissingTensor) {
  EXPECT_THAT([] { Weights().Get("head.weight"); }, ThrowsMessage<Error>(HasSubstr("head.weight")));
}

}  // namespace
}  // namespace rondo
