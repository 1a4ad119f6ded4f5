#include "cli/plan_flags.h"

#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>

#include "rondo/error.h"

namespace rondo::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

ModelConfig Config() {
  ModelConfig config;
  config.layers = 4;
  config.d_model = config.d_ff = config.vocab = config.max_positions = 8;
  config.heads = config.kv_heads = config.head_dim = config.rotary_dim = 2;
  config.attn_scale = 1;
  return config;
}

std::string ErrorOf(const PlanFlags& flags) {
  try {
    ParseFoldOptions(flags, Config());
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(PlanFlags, OneOrderServesAllGroupsAndNamedOnesOnlyTheirs) {
  PlanFlags flags;
  flags.order = "sequence";
  flags.loops = "attention=2,ffn=3";
  const FoldOptions options = ParseFoldOptions(flags, Config());
  for (const TieOrder& order : options.order) EXPECT_EQ(order.order, "sequence");
  EXPECT_EQ(options.order[static_cast<size_t>(ModuleGroup::kAttention)].loops, 2);
  EXPECT_EQ(options.order[static_cast<size_t>(ModuleGroup::kFfn)].loops, 3);
}

TEST(PlanFlags, ARankOfAModuleWinsOverItsGroupInAnyOrder) {
  PlanFlags flags;
  for (const char* text : {"attention=8,q=32", "q=32,attention=8"}) {
    flags.rank = text;
    const FoldOptions options = ParseFoldOptions(flags, Config());
    EXPECT_EQ(options.module_ranks.at(Module::kQ), 32) << text;
    EXPECT_EQ(options.module_ranks.at(Module::kV), 8) << text;
    EXPECT_EQ(options.module_ranks.count(Module::kUp), 0u) << text;
  }
}

TEST(PlanFlags, ARankOfAGroupIsThatOfTheLinearsAModelHas) {
  ModelConfig plain = Config();
  plain.gated_ffn = false;
  PlanFlags flags;
  flags.rank = "attention=8,ffn=16";
  const FoldOptions options = ParseFoldOptions(flags, plain);
  EXPECT_EQ(options.module_ranks.at(Module::kDown), 16);
  EXPECT_EQ(options.module_ranks.count(Module::kGate), 0u);
  EXPECT_EQ(options.module_ranks.count(Module::kCrossQ), 0u);
}

TEST(PlanFlags, InitFollowsTheResidualUnlessGiven) {
  PlanFlags flags;
  EXPECT_EQ(ParseFoldOptions(flags, Config()).init, InitKind::kAverage);
  flags.fold.residual = ResidualKind::kNone;
  EXPECT_EQ(ParseFoldOptions(flags, Config()).init, InitKind::kStepwise);
  flags.init = InitKind::kUpper;
  EXPECT_EQ(ParseFoldOptions(flags, Config()).init, InitKind::kUpper);
}

TEST(PlanFlags, APlanFileMayBeTieMapsThatTakeTheOtherFlags) {
  const ModelConfig config = Config();
  PlanFlags flags;
  flags.plan_file = testing::TempDir() + "rondo_tie_maps.txt";
  flags.rank = "3";
  std::ofstream(flags.plan_file) << "# mirror\nall: 0 1 1 0\n";
  const SharingPlan plan = PlanFromFlags(flags, ParseFoldOptions(flags, Config()), config);
  EXPECT_THAT(plan[Module::kUp].blocks, ElementsAre(0, 1, 1, 0));
  EXPECT_THAT(plan[Module::kUp].ranks, ElementsAre(3, 3, 3, 3));
}

TEST(PlanFlags, ErrorsNameTheFlagAndSuggest) {
  PlanFlags flags;
  flags.loops = "two";
  EXPECT_THAT(ErrorOf(flags), AllOf(HasSubstr("--loops"), HasSubstr("'two'")));
  flags = {};
  flags.rank = "q=-1";
  EXPECT_THAT(ErrorOf(flags), AllOf(HasSubstr("--rank"), HasSubstr("-1")));
  flags = {};
  flags.rank = "qq=4";
  EXPECT_THAT(ErrorOf(flags), HasSubstr("'qq'"));
  flags = {};
  flags.order = "atention=cycle";
  EXPECT_THAT(ErrorOf(flags), AllOf(HasSubstr("--order"), HasSubstr("'attention'")));
}

// What a plan in a file lacks for this model is said with the file and the module.
TEST(PlanFlags, PlansThatDoNotFitNameFileAndModule) {
  PlanFlags flags;
  flags.plan_file = testing::TempDir() + "unfitting.json";
  SharingPlan plan = IdentityPlan(Config());
  const auto error = [&] {
    std::ofstream(flags.plan_file) << PlanToJson(plan);
    try {
      PlanFromFlags(flags, {}, Config());
    } catch (const Error& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  EXPECT_EQ(error(), "");
  plan[Module::kQ].blocks[2] = 3;
  EXPECT_THAT(error(), HasSubstr("unfitting.json: modules.q.blocks"));
  plan = IdentityPlan(Config());
  plan[Module::kUp].blocks.clear();
  EXPECT_THAT(error(), HasSubstr("unfitting.json: modules.up: missing"));
}

TEST(PlanFlags, APlanIsTakenFromAnotherModelThatHasOne) {
  const std::string folder = testing::TempDir() + "planned/";
  std::filesystem::create_directories(folder);
  PlanFlags flags;
  const auto write = [&](const std::string& rondo) {
    std::ofstream(folder + "config.json") << R"({"model_type": "llama", "hidden_size": 8,
      "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 8, "vocab_size": 8,
      "max_position_embeddings": 8, "rms_norm_eps": 1e-5)" +
                                                 rondo + "}";
  };
  ModelConfig config = Config();
  SharingPlan plan = IdentityPlan(config);
  for (const Module m : {Module::kGate, Module::kUp, Module::kDown}) plan[m].blocks = {0, 0, 1, 1};
  write(", \"rondo\": " + PlanToJson(plan));
  for (const std::string& file : {folder, folder + "config.json"}) {
    flags.plan_file = file;
    EXPECT_TRUE(IsWholePlan(file));
    EXPECT_THAT(PlanFromFlags(flags, {}, config)[Module::kUp].blocks, ElementsAre(0, 0, 1, 1));
  }
  write("");
  EXPECT_THAT([&] { PlanFromFlags(flags, {}, config); },
              testing::ThrowsMessage<Error>(HasSubstr("shares nothing")));
}

}  // namespace
}  // namespace rondo::cli
