#include "rondo/sharing_plan.h"

#include <gmock/gmock.h>

#include <functional>

#include "model/tiny_config.h"
#include "rondo/error.h"

namespace rondo {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::ThrowsMessage;

// Every kind of entry at once: tied linears with residuals, an absorbed norm, own biases.
SharingPlan RichPlan(const ModelConfig& config) {
  SharingPlan plan = IdentityPlan(config);
  plan.order = "cycle";
  plan.loops = 2;
  for (const Module m : kAllModules) {
    if (IsLinear(m) && config.HasModule(m)) plan[m].blocks = {0, 1, 0, 1};
  }
  plan[Module::kQ].residual = ResidualKind::kLora;
  plan[Module::kQ].ranks = {2, 2, 2, 2};
  plan[Module::kO].residual = ResidualKind::kDora;
  plan[Module::kO].ranks = {0, 1, 2, 3};
  plan[Module::kUp].residual = ResidualKind::kMulDiag;
  plan[Module::kDown].residual = ResidualKind::kKronecker;
  plan[Module::kDown].ranks = {1, 1, 0, 0};
  plan[Module::kFfnNorm].blocks.assign(4, kAbsorbed);
  if (config.HasBias(Module::kQ)) plan[Module::kQ].own_bias = true;
  plan.prefix = 3;
  return plan;
}

TEST(SharingPlan, IdentitySharesNothing) {
  const SharingPlan plan = IdentityPlan(TinyLlamaConfig());
  EXPECT_NO_THROW(plan.Validate(TinyLlamaConfig()));
  EXPECT_FALSE(plan.SharesAnything());
  EXPECT_FALSE(plan.HasResiduals());
  EXPECT_TRUE(plan[Module::kQNorm].blocks.empty());
  EXPECT_EQ(plan[Module::kGate].BlockCount(), 4);
}

TEST(SharingPlan, JsonRoundTripKeepsEverything) {
  for (const ModelConfig& config : {TinyLlamaConfig(), TinyGpt2Config()}) {
    for (const SharingPlan& plan : {IdentityPlan(config), RichPlan(config)}) {
      ASSERT_NO_THROW(plan.Validate(config));
      EXPECT_EQ(PlanFromJson(PlanToJson(plan), "f"), plan);
    }
  }
}

TEST(SharingPlan, SharingAndResidualsAreSeenPerDepth) {
  const SharingPlan plan = RichPlan(TinyLlamaConfig());
  EXPECT_TRUE(plan.SharesAnything());
  EXPECT_TRUE(plan.HasResiduals());
  EXPECT_TRUE(plan.HasResidual(Module::kQ, 3));
  EXPECT_FALSE(plan.HasResidual(Module::kK, 3));
  EXPECT_TRUE(plan.HasResidual(Module::kO, 0)) << "DoRA's magnitude counts at rank 0";
  EXPECT_TRUE(plan.HasResidual(Module::kUp, 0));
  EXPECT_FALSE(plan.HasResidual(Module::kDown, 2));
}

struct BadPlan {
  const char* name;
  std::function<void(SharingPlan&)> spoil;
  const char* words;
};
void PrintTo(const BadPlan& bad, std::ostream* out) { *out << bad.name; }

class InvalidPlan : public testing::TestWithParam<BadPlan> {};

TEST_P(InvalidPlan, IsRefusedByName) {
  SharingPlan plan = RichPlan(TinyLlamaConfig());
  GetParam().spoil(plan);
  EXPECT_THAT([&] { plan.Validate(TinyLlamaConfig()); },
              ThrowsMessage<Error>(HasSubstr(GetParam().words)));
}

INSTANTIATE_TEST_SUITE_P(
    Plans, InvalidPlan,
    testing::Values(
        BadPlan{"depths", [](SharingPlan& p) { p.depths = 5; }, "depths: 5"},
        BadPlan{"short map", [](SharingPlan& p) { p[Module::kQ].blocks.pop_back(); },
                "modules.q.blocks: 3 entries"},
        BadPlan{"missing map", [](SharingPlan& p) { p[Module::kV] = {}; }, "modules.v: missing"},
        BadPlan{"a block that only a later depth would define",
                [](SharingPlan& p) {
                  p[Module::kQ].blocks = {1, 0, 1, 0};
                },
                "modules.q.blocks: block 1"},
        BadPlan{"gap",
                [](SharingPlan& p) {
                  p[Module::kQ].blocks = {0, 2, 0, 2};
                },
                "next new id is 1"},
        BadPlan{"negative",
                [](SharingPlan& p) {
                  p[Module::kQ].blocks = {0, -2, 0, 0};
                },
                "block -2"},
        BadPlan{"absorbed linear",
                [](SharingPlan& p) { p[Module::kQ].blocks.assign(4, kAbsorbed); },
                "only attn_norm and ffn_norm"},
        BadPlan{"half absorbed",
                [](SharingPlan& p) {
                  p[Module::kFfnNorm].blocks = {kAbsorbed, 0, 1, 2};
                },
                "all depths absorbed, or none"},
        BadPlan{"absorbed later",
                [](SharingPlan& p) {
                  p[Module::kFfnNorm].blocks = {0, kAbsorbed, 1, 2};
                },
                "block -1"},
        BadPlan{"module that is not there",
                [](SharingPlan& p) {
                  p[Module::kQNorm].blocks = {0, 1, 2, 3};
                },
                "no such module"},
        BadPlan{"own bias without bias", [](SharingPlan& p) { p[Module::kQ].own_bias = true; },
                "modules.q.own_bias"},
        BadPlan{"rank too large",
                [](SharingPlan& p) {
                  p[Module::kQ].ranks = {2, 2, 9, 2};
                },
                "modules.q.rank: rank 9 (expected 0 to 8)"},
        BadPlan{"negative rank",
                [](SharingPlan& p) {
                  p[Module::kQ].ranks = {2, -1, 2, 2};
                },
                "rank -1"},
        BadPlan{"too few ranks", [](SharingPlan& p) { p[Module::kQ].ranks = {2}; },
                "one rank per depth"},
        BadPlan{"ranks without residual",
                [](SharingPlan& p) {
                  p[Module::kK].ranks = {1, 1, 1, 1};
                },
                "modules.k.rank: ranks given"},
        BadPlan{"Kronecker rank",
                [](SharingPlan& p) {
                  p[Module::kDown].ranks = {99, 1, 0, 0};
                },
                "rank 99"},
        BadPlan{"negative prefix", [](SharingPlan& p) { p.prefix = -1; },
                "prefix: -1 (expected 0 to 1024)"},
        BadPlan{"long prefix", [](SharingPlan& p) { p.prefix = 1025; }, "prefix: 1025"},
        BadPlan{"residual of a norm",
                [](SharingPlan& p) { p[Module::kAttnNorm].residual = ResidualKind::kLora; },
                "norms have no residual"}));

TEST(KroneckerFactor, DividesBothSizesNearTheirRoots) {
  EXPECT_EQ(KroneckerFactor(36, 16), (std::array<int64_t, 2>{6, 4}));
  const auto [out_a, in_a] = KroneckerFactor(576, 1536);
  EXPECT_EQ(576 % out_a, 0);
  EXPECT_EQ(1536 % in_a, 0);
  EXPECT_EQ(KroneckerFactor(7, 7), (std::array<int64_t, 2>{1, 7}));
}

struct BadText {
  const char* name;
  const char* json;
  const char* words;
};
void PrintTo(const BadText& bad, std::ostream* out) { *out << bad.name; }

class MalformedPlan : public testing::TestWithParam<BadText> {};

TEST_P(MalformedPlan, IsAnErrorNamingTheFile) {
  EXPECT_THAT([&] { PlanFromJson(GetParam().json, "plan.json"); },
              ThrowsMessage<Error>(AllOf(HasSubstr("plan.json"), HasSubstr(GetParam().words))));
}

INSTANTIATE_TEST_SUITE_P(
    Texts, MalformedPlan,
    testing::Values(
        BadText{"no JSON", "plan", "valid JSON"}, BadText{"array", "[]", "expected an object"},
        BadText{"no format", R"({"depths": 2, "modules": {}})", "format: missing"},
        BadText{"later format", R"({"format": 3, "depths": 2, "modules": {}})", "version 3"},
        BadText{"no depths", R"({"format": 1, "modules": {}})", "depths: missing"},
        BadText{"no modules", R"({"format": 1, "depths": 2})", "modules: missing"},
        BadText{"huge depths", R"({"format": 1, "depths": 5000, "modules": {}})", "1 to 4096"},
        BadText{"fractional", R"({"format": 1, "depths": 2.5, "modules": {}})", "an integer"},
        BadText{"no loops", R"({"format": 1, "depths": 2, "loops": 0, "modules": {}})", "loops: 0"},
        BadText{"prefix", R"({"format": 1, "depths": 2, "prefix": "8", "modules": {}})",
                "prefix: \"8\""},
        BadText{"escape codes",
                R"({"format": 1, "order": "\u001b[2J", "depths": 2, "modules": {}})",
                "order: not a name"},
        BadText{"unknown key", R"({"format": 1, "depths": 2, "modules": {}, "lops": 2})",
                "lops: unknown key"},
        BadText{"unknown module", R"({"format": 1, "depths": 2, "modules": {"qq": {}}})",
                "modules.qq: unknown module"},
        BadText{"module no object", R"({"format": 1, "depths": 2, "modules": {"q": 3}})",
                "modules.q: 3"},
        BadText{"no blocks", R"({"format": 1, "depths": 2, "modules": {"q": {}}})",
                "modules.q.blocks: missing"},
        BadText{"short blocks", R"({"format": 1, "depths": 2, "modules": {"q": {"blocks": [0]}}})",
                "modules.q.blocks: 1 entries"},
        BadText{"short ranks", R"({"format": 1, "depths": 2, "modules":
                {"q": {"blocks": [0, 0], "residual": "lora", "rank": [1]}}})",
                "modules.q.rank: 1 entries"},
        BadText{"blocks text", R"({"format": 1, "depths": 2, "modules": {"q": {"blocks": "all"}}})",
                "modules.q.blocks: \"all\""},
        BadText{"residual", R"({"format": 1, "depths": 2, "modules":
                             {"q": {"blocks": [0, 0], "residual": "lorra"}}})",
                "'lora'"},
        BadText{"rank type", R"({"format": 1, "depths": 2, "modules":
                              {"q": {"blocks": [0, 0], "residual": "lora", "rank": "x"}}})",
                "modules.q.rank"},
        BadText{"key in module", R"({"format": 1, "depths": 2, "modules":
                                  {"q": {"blocks": [0, 0], "ranks": 3}}})",
                "did you mean 'rank'"},
        BadText{"twice", R"({"format": 1, "depths": 2, "modules":
                          {"q": {"blocks": [0, 0]}, "q": {"blocks": [0, 1]}}})",
                "q: key occurs twice"}));

}  // namespace
}  // namespace rondo
