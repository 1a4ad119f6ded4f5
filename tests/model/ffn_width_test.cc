#include "rondo/ffn_width.h"

#include <gmock/gmock.h>

#include <cmath>
#include <numeric>

#include "model/tiny_config.h"
#include "rondo/error.h"

namespace rondo {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;

// Every element is its own number.
Model NumberedModel(const ModelConfig& config, const SharingPlan& plan) {
  Model model{.config = config, .plan = plan, .weights = {}, .path = {}};
  for (const TensorSpec& spec : ExpectedTensors(config, plan)) {
    std::vector<float> values(static_cast<size_t>(ElementCount(spec.shape)));
    std::iota(values.begin(), values.end(), 0.0f);
    model.weights.Set(spec.name, Tensor::FromF32(spec.shape, std::move(values)));
  }
  return model;
}

SharingPlan PlanWith(const ModelConfig& config, Module m, ResidualKind kind, int rank) {
  SharingPlan plan = IdentityPlan(config);
  plan[m].blocks.assign(static_cast<size_t>(config.layers), 0);
  plan[m].residual = kind;
  plan[m].ranks.assign(static_cast<size_t>(config.layers), rank);
  return plan;
}

TEST(FfnWidth, RoundsAndKeepsAtLeastOne) {
  const ModelConfig config = TinyLlamaConfig();  // d_ff 12
  EXPECT_EQ(FfnWidth(config, 1), 12);
  EXPECT_EQ(FfnWidth(config, 0.25), 3);
  EXPECT_EQ(FfnWidth(config, 0.3), 4);
  EXPECT_EQ(FfnWidth(config, 1e-9), 1);
  for (const double share : {0.0, -0.5, 1.01, std::nan("")}) {
    EXPECT_THAT([&] { FfnWidth(config, share); }, ThrowsMessage<Error>(HasSubstr("at most 1")));
  }
}

TEST(CutFfn, KeepsLeadingRowsOfUpAndLeadingColumnsOfDown) {
  const ModelConfig config = TinyLlamaConfig();  // d_model 8
  const Model model =
      NumberedModel(config, PlanWith(config, Module::kDown, ResidualKind::kLora, 2));
  const Model cut = CutFfn(model, 0.25);
  EXPECT_EQ(cut.config.d_ff, 3);
  EXPECT_EQ(cut.plan, model.plan);
  EXPECT_NO_THROW(CheckWeights(cut.config, cut.plan, cut.weights, "cut"));
  const auto values = [&](const char* name) { return ToF32(cut.weights.Get(name)); };
  EXPECT_EQ(values("blocks.3.up.weight").size(), 24u);
  EXPECT_EQ(values("blocks.3.up.weight").back(), 23);
  EXPECT_THAT(values("residual.1.down.a"), ElementsAre(0, 1, 2, 12, 13, 14));
  EXPECT_EQ(values("residual.1.down.b"), ToF32(model.weights.Get("residual.1.down.b")));
  EXPECT_EQ(values("blocks.0.down.weight")[3], 12);
  EXPECT_EQ(values("blocks.0.q.weight"), ToF32(model.weights.Get("blocks.0.q.weight")));
}

TEST(CutFfn, WholeShareChangesNothing) {
  const ModelConfig config = TinyGpt2Config();
  const Model model = NumberedModel(config, IdentityPlan(config));
  EXPECT_EQ(CutFfn(model, 1).config, config);
  EXPECT_EQ(CutFfn(model, 1).weights.bytes(), model.weights.bytes());
}

TEST(CutFfn, RefusesResidualsThatHaveNoParts) {
  const ModelConfig config = TinyLlamaConfig();
  const auto cut = [&](Module m, ResidualKind kind, int rank) {
    return [&config, m, kind, rank] {
      CutFfn(NumberedModel(config, PlanWith(config, m, kind, rank)), 0.5);
    };
  };
  EXPECT_THAT(cut(Module::kUp, ResidualKind::kKronecker, 1),
              ThrowsMessage<Error>(HasSubstr("modules.up: a kronecker residual")));
  EXPECT_THAT(cut(Module::kDown, ResidualKind::kDora, 1),
              ThrowsMessage<Error>(HasSubstr("modules.down: a dora residual")));
  EXPECT_NO_THROW(cut(Module::kUp, ResidualKind::kDora, 1)());
  EXPECT_THAT(cut(Module::kUp, ResidualKind::kLora, 7),
              ThrowsMessage<Error>(HasSubstr("modules.up.rank: rank 7 (expected 0 to 6)")));
}

}  // namespace
}  // namespace rondo
