// Layers that tie themselves: gradients of owners, memory, runs that resume and replay to the same
// bits, budgets and policies.
#include "train/tying/tying.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "base/file.h"
#include "base/run_log.h"
#include "base/temp_dir.h"
#include "rondo/error.h"
#include "train/language/language_stage.h"
#include "train/train_testing.h"
#include "train/trainer.h"

namespace rondo {
namespace {

namespace fs = std::filesystem;
using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;

const std::string kStories = std::string(RONDO_TEST_DATA) + "/models/stories260K/stories260K.bin";
const std::string kText = std::string(RONDO_TEST_DATA) + "/enwiki/excerpt.txt.xz";

class TyingRuns : public testing::Test {
 protected:
  // Six layers from random weights; two episodes of ten steps, where there are episodes.
  std::string Text(const std::string& out) const {
    return "[init]\nfamily = \"gpt2\"\ntokenizer = \"" + kStories +
           "\"\nlayers = 6\nd_model = 32\nheads = 4\nmax_positions = 64\n[tying]\n"
           "[data]\nfiles = [\"" +
           kText + "\"]\ncache = \"" + dir_.File("cache") +
           "\"\nlength = 32\n[run]\nseed = 5\nthreads = 1\ncheckpoint_steps = 3\n"
           "checkpoint_minutes = 0\nout = \"" +
           dir_.File(out) + "\"\n[train]\nsteps = 20\nbatch = 2\nce = 1\nkd = 0\n";
  }
  static Recipe Parse(const std::string& text, std::vector<std::string> settings) {
    const auto fixed = [](const std::string& s) { return s == "tying.mode=\"fixed\""; };
    if (std::ranges::none_of(settings, fixed)) {
      settings.insert(settings.begin(), "tying.interval=2");
    }
    return ParseRecipe(text, "recipe.toml", settings);
  }
  // The same on a trained model of five layers.
  TrainResult GoOnStories(const std::string& out, const std::vector<std::string>& settings,
                          TrainOptions options = {}) const {
    std::string text = Text(out);
    const size_t begin = text.find("[init]"), end = text.find("[tying]");
    text.replace(begin, end - begin, "model = \"" + kStories + "\"\n");
    options.quiet = true;
    return Train(Parse(text, settings), options);
  }
  TrainResult Go(const std::string& out, const std::vector<std::string>& settings = {},
                 TrainOptions options = {}) const {
    options.quiet = true;
    return Train(Parse(Text(out), settings), options);
  }
  std::vector<RunMetrics> Log(const std::string& out) const {
    return ReadRunLog(dir_.File(out + "/metrics.jsonl"));
  }
  std::string Weights(const std::string& out) const {
    return ReadTextFile(dir_.File(out + "/model/model.safetensors"));
  }
  std::vector<int> Blocks(const std::string& out, Module m = Module::kQ) const {
    return LoadModel(dir_.File(out + "/model")).plan[m].blocks;
  }
  TempDir dir_;
};

std::vector<RunMetrics> Events(const std::vector<RunMetrics>& log, const std::string& event) {
  std::vector<RunMetrics> found;
  for (const RunMetrics& line : log) {
    if (line.event == event) found.push_back(line);
  }
  return found;
}

// As the log tells which layer's weights each one uses.
std::string OwnersText(const std::vector<int>& blocks) {
  std::string owners = "layer:";
  for (const int block : blocks) {
    owners += ' ';
    owners += std::to_string(std::ranges::find(blocks, block) - blocks.begin());
  }
  return owners;
}

// The plan that the last recorded owners stand for is the model's.
TEST_F(TyingRuns, LeavesAModelThatTheEngineRunsWithTheRecordedPlan) {
  const TrainResult result = Go("run");
  const Model model = LoadModel(result.model);
  const std::vector<RunMetrics> ties = Events(Log("run"), "tie");
  ASSERT_EQ(ties.size(), 10u);  // every second step, the last of them is closed at the end
  EXPECT_EQ(Events(Log("run"), "reward").size(), 10u);
  EXPECT_EQ(ties.back().text, OwnersText(model.plan[Module::kQ].blocks));
  EXPECT_EQ(AllLogits(model, RandomTokens(5, 512)).size(), 5u * 512);
}

TEST_F(TyingRuns, AsksAboutEveryLayerInTurn) {
  Go("run");
  std::vector<double> depths, rewards;
  for (const RunMetrics& tie : Events(Log("run"), "tie")) {
    depths.push_back(tie.more.at("depth"));
    EXPECT_LE(tie.more.at("action"), tie.more.at("depth"));
    EXPECT_EQ(tie.step % 2, 0);
    EXPECT_DOUBLE_EQ(tie.more.at("epsilon"), tie.more.at("episode") == 0 ? 1 : 0.95);
  }
  EXPECT_THAT(depths, ElementsAre(1, 2, 3, 4, 5, 1, 2, 3, 4, 5));
  // From random weights the perplexity is far above the clip.
  for (const RunMetrics& m : Events(Log("run"), "reward")) rewards.push_back(m.more.at("reward"));
  EXPECT_THAT(rewards, Each(-10));
}

TEST_F(TyingRuns, ResumesToTheSameBits) {
  const std::vector<std::vector<std::string>> variants = {
      {},
      {"tying.reward=\"relative\"", "tying.replay=4", "tying.target_every=3"},
      {"tying.unit=\"half\"", "tying.residual=\"lora\"", "tying.rank=2", "train.ema=0.9"},
      {"tying.untie=\"alias\"", "tying.gradients=\"sum\""}};
  int number = 0;
  for (const std::vector<std::string>& settings : variants) {
    const std::string whole = "whole" + std::to_string(number),
                      parts = "parts" + std::to_string(number++);
    Go(whole, settings);
    Go(parts, settings, {.stop_after = 7});  // the checkpoint is at 6, a decision is open
    Go(parts, settings, {.resume = true, .stop_after = 14});
    Go(parts, settings, {.resume = true});
    EXPECT_EQ(Weights(whole), Weights(parts)) << number;
    const auto a = Events(Log(whole), "tie"), b = Events(Log(parts), "tie");
    ASSERT_EQ(a.size(), b.size()) << number;
    for (size_t i = 0; i < a.size(); ++i) EXPECT_EQ(a[i].text, b[i].text) << number << " " << i;
  }
}

TEST_F(TyingRuns, ReplaysRecordedDecisionsToTheSameBits) {
  Go("run");
  Go("again", {"tying.mode=\"replay\"", "tying.decisions=\"" + dir_.File("run") + "\""});
  EXPECT_EQ(Weights("run"), Weights("again"));
  // Other decisions give another model.
  Go("other", {"run.seed=6"});
  EXPECT_NE(Weights("run"), Weights("other"));
  EXPECT_THROW(Go("longer", {"tying.mode=\"replay\"", "train.steps=30",
                             "tying.decisions=\"" + dir_.File("run") + "\""}),
               Error);
}

TEST_F(TyingRuns, PoliciesTieAsTheySay) {
  const std::vector<std::string> fixed = {"tying.mode=\"fixed\"", "train.steps=2"};
  const auto blocks = [&](const std::string& policy, std::vector<std::string> more = {}) {
    more.insert(more.end(), fixed.begin(), fixed.end());
    more.push_back("tying.policy=\"" + policy + "\"");
    Go(policy, more);
    return Blocks(policy);
  };
  EXPECT_THAT(blocks("none"), ElementsAre(0, 1, 2, 3, 4, 5));
  EXPECT_THAT(blocks("first"), ElementsAre(0, 0, 0, 0, 0, 0));
  EXPECT_THAT(blocks("pairs"), ElementsAre(0, 0, 1, 1, 2, 2));
  EXPECT_THAT(blocks("mirror"), ElementsAre(0, 1, 2, 2, 1, 0));
  const std::vector<int> greedy = blocks("greedy", {"tying.keep=2"});
  EXPECT_EQ(std::ranges::max(greedy), 1);
  SharingPlan plan = IdentityPlan(LoadModel(dir_.File("none/model")).config);
  for (const Module m : kAllModules) {
    if (!plan[m].blocks.empty()) plan[m].blocks = {0, 1, 0, 1, 0, 1};
  }
  AtomicFile file(dir_.File("plan.json"));
  file.Write(PlanToJson(plan));
  file.Commit();
  EXPECT_THAT(blocks("plan", {"tying.plan=\"" + dir_.File("plan.json") + "\""}),
              ElementsAre(0, 1, 0, 1, 0, 1));
}

// One unit cannot follow two maps.
TEST_F(TyingRuns, RefusesAPlanThatTiesPartsOfAUnitApart) {
  Go("none", {"tying.mode=\"fixed\"", "tying.policy=\"none\"", "train.steps=1"});
  SharingPlan plan = IdentityPlan(LoadModel(dir_.File("none/model")).config);
  for (const Module m : {Module::kUp, Module::kDown}) plan[m].blocks = {0, 0, 1, 1, 2, 2};
  WriteTextFile(dir_.File("plan.json"), PlanToJson(plan));
  const std::vector<std::string> settings = {"tying.mode=\"fixed\"", "tying.policy=\"plan\"",
                                             "train.steps=2", "tying.norms=\"own\"",
                                             "tying.plan=\"" + dir_.File("plan.json") + "\""};
  EXPECT_THAT([&] { Go("whole", settings); },
              testing::ThrowsMessage<Error>(HasSubstr("tying.unit = \"half\"")));
  std::vector<std::string> halves = settings;
  halves.emplace_back("tying.unit=\"half\"");
  Go("halves", halves);
  EXPECT_THAT(Blocks("halves", Module::kUp), ElementsAre(0, 0, 1, 1, 2, 2));
  EXPECT_THAT(Blocks("halves"), ElementsAre(0, 1, 2, 3, 4, 5));
}

// Rewards follow from what the log tells of the probes.
TEST_F(TyingRuns, RewardsAreWhatTheySay) {
  Go("bits", {"tying.reward=\"bits\"", "tying.reward_clip=0", "tying.size_weight=3"});
  const double untied = 6 * 12 * 32 * 32 + 6 * 13 * 32 + 2 * 32;  // six layers and the final norm
  std::set<double> different;
  double stored = 0;
  for (const RunMetrics& line : Log("bits")) {
    if (line.more.contains("stored_parameters")) stored = line.more.at("stored_parameters");
    if (line.event != "reward") continue;
    EXPECT_NEAR(line.more.at("reward"),
                -line.more.at("probe_ce") / std::log(2.0) - 3 * stored / untied, 1e-5);
    different.insert(line.more.at("reward"));
  }
  EXPECT_EQ(different.size(), 10u);
  Go("relative", {"tying.reward=\"relative\"", "tying.size_weight=50", "train.lr=1e-9"});
  // What a decision changes in size, and the clipped quality, which is 10 at most.
  double before = untied;
  for (const RunMetrics& line : Log("relative")) {
    if (line.more.contains("stored_parameters")) stored = line.more.at("stored_parameters");
    if (line.event != "reward") continue;
    EXPECT_NEAR(line.more.at("reward"), 50 * (before - stored) / untied, 10.0);
    before = stored;
  }
}

// Ties that cost too much are taken back, and the model is what it was; also where a run was
// resumed.
TEST_F(TyingRuns, TakesBackWhatCostsTooMuch) {
  const std::vector<std::string> settings = {
      "tying.start=\"independent\"", "tying.untie=\"restore\"",
      "tying.reward=\"relative\"",   "tying.undo=5",
      "tying.norms=\"own\"",         "train.lr=1e-5"};
  GoOnStories("run", settings);
  std::string owners = "layer: 0 1 2 3 4", before = owners;
  int undone = 0;
  for (const RunMetrics& line : Log("run")) {
    if (line.event == "tie") before = std::exchange(owners, line.text);
    if (line.event != "reward") continue;
    EXPECT_EQ(line.more.contains("undone"), line.more.at("reward") < -5);
    if (!line.more.contains("undone")) continue;
    owners = before;
    ++undone;
  }
  EXPECT_GE(undone, 2);
  EXPECT_EQ(OwnersText(Blocks("run")), owners);
  GoOnStories("parts", settings, {.stop_after = 7});
  GoOnStories("parts", settings, {.resume = true});
  EXPECT_EQ(Weights("run"), Weights("parts"));
}

// A policy of nothing is conventional training, to the bit.
TEST_F(TyingRuns, NoTiesAreConventionalTraining) {
  Go("none", {"tying.mode=\"fixed\"", "tying.policy=\"none\""});
  std::string text = Text("plain");
  const size_t begin = text.find("[tying]"), end = text.find("[data]");
  Train(ParseRecipe(text.erase(begin, end - begin), "recipe.toml", {}), {.quiet = true});
  EXPECT_EQ(Weights("none"), Weights("plain"));
}

TEST_F(TyingRuns, KeepsToABudget) {
  Go("run", {"tying.start=\"independent\"", "tying.budget=0.4", "tying.budget_by=0.5"});
  const Model model = LoadModel(dir_.File("run/model"));
  const auto stored = CountParameters(model.config, model.plan).NonEmbedding();
  const auto untied = CountParameters(model.config, IdentityPlan(model.config)).NonEmbedding();
  EXPECT_LE(static_cast<double>(stored), 0.4 * static_cast<double>(untied));
  EXPECT_EQ(Events(Log("run"), "tie").back().more.at("episode"), 1);
}

// What a tie costs is no spike: the guard measures losses against those under the same ties.
TEST_F(TyingRuns, TrainsOnWhereATieRaisesTheLoss) {
  GoOnStories("run", {"tying.mode=\"fixed\"", "tying.policy=\"first\"", "tying.policy_at=0.5",
                      "train.spike=1.15", "train.batch=32", "train.lr=1e-5"});
  const std::vector<RunMetrics> log = Log("run");
  EXPECT_THAT(Events(log, "spike"), testing::IsEmpty());
  std::vector<double> losses;
  for (const RunMetrics& line : log) {
    if (line.loss && line.event.empty()) losses.push_back(*line.loss);
  }
  ASSERT_EQ(losses.size(), 20u);
  EXPECT_GT(losses[10], 1.15 * losses[9]) << losses[8];
}

TEST_F(TyingRuns, TiedLayersLeaveMemory) {
  Go("run", {"tying.mode=\"fixed\"", "tying.policy=\"first\"", "tying.policy_at=0.5"});
  std::vector<RunMetrics> steps;
  for (const RunMetrics& line : Log("run")) {
    if (line.loss) steps.push_back(line);
  }
  const auto bytes = [&](size_t i) { return steps[i].more.at("training_bytes"); };
  const auto stored = [&](size_t i) { return steps[i].more.at("stored_parameters"); };
  EXPECT_EQ(bytes(0), bytes(8));
  // Weights, gradients and two moments of what is not stored any more are gone; each parameter's
  // place in three of them is rounded up to 16 values.
  const double gone = 16 * (stored(0) - stored(19));
  EXPECT_NEAR(bytes(0) - bytes(19), gone, 3 * 4 * 16 * 100);
  EXPECT_GT(gone, 0.7 * 16 * stored(0));
}

TEST_F(TyingRuns, RefusesWhatMakesNoSense) {
  const auto fails = [&](const std::vector<std::string>& settings, const std::string& words) {
    try {
      Go("bad", settings);
      ADD_FAILURE() << words;
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), HasSubstr(words));
    }
    fs::remove_all(dir_.File("bad"));
  };
  fails({"tying.mode=\"rll\""}, "tying.mode");
  fails({"tying.interval=0"}, "tying.interval");
  fails({"tying.residual=\"kronecker\""}, "lora-diag");
  fails({"tying.epsilon=2"}, "tying.epsilon");
  fails({"train.layer_dropout=0.1", "train.exits=\"weighted\""}, "layers are tied");
  fails({"tying.undo=1"}, "tying.untie");
  fails({"train.widths=[0.5, 1.0]"}, "train.widths");
  fails({"tying.stage=\"trian\""}, "tying.stage: 'trian' (expected one stage's name of 'train')");
  fails({"stages=[{name=\"a\"}, {name=\"a\"}]", "tying.stage=\"a\""}, "several stages");
  fails({"tying.mode=\"replay\"", "tying.decisions=\"" + dir_.File("nothing") + "\""}, "nothing");
}

// Only the owner's own use of shared weights moves them: the gradient is that of a model in which
// tied layers have frozen copies.
TEST(Retie, OwnersAloneMoveSharedTensors) {
  const ModelConfig config = SmallConfig();
  const SharingPlan identity = IdentityPlan(config);
  TieState state = StartTies(config, TieUnits::kLayer, TieStart::kIndependent, false);
  state.units[0].Act(2, 1, Untie::kCopy);
  state.units[0].Act(3, 1, Untie::kCopy);
  const Ties ties = {
      .state = state, .residual = {}, .plan = PlanOfTies(config, identity, state, {})};
  const Model tied = RandomModel(config, ties.plan);
  // The same function with copies of block 1 at depths 2 and 3.
  Model copies = RandomModel(config, identity);
  for (const auto& spec : ExpectedTensors(config, identity)) {
    std::string from = spec.name;
    for (const char* copy : {"blocks.2.", "blocks.3."}) {
      if (from.starts_with(copy)) from = "blocks.1." + from.substr(9);
    }
    copies.weights.Set(spec.name, tied.weights.Get(from));
  }
  const TrainGroup frozen[] = {{"blocks.2.*", 0}, {"blocks.3.*", 0}, {"*", 1}};
  Params expected(copies, frozen), params = AllTrained(tied);
  const TokenBatch batch = RandomBatch(2, 8, config.vocab);
  Student reference = MakeStudent(expected, copies), student = MakeStudent(params, tied);
  reference.AddGradients(batch, nullptr, {.vocab = {.ce = 1}}, 1);
  student.set_cut_gradients(GradientsOfTies(ties, false));
  student.AddGradients(batch, nullptr, {.vocab = {.ce = 1}}, 1);
  for (const Param* param : params.List()) {
    const at::Tensor want = expected.Get(param->name).grad(), got = param->value.grad();
    // The same products in the same order.
    EXPECT_TRUE(at::equal(want, got)) << param->name;
  }
  // Summed, gradients of tied layers come on top.
  Params summed = AllTrained(tied);
  Student sum = MakeStudent(summed, tied);
  sum.set_cut_gradients(GradientsOfTies(ties, true));
  sum.AddGradients(batch, nullptr, {.vocab = {.ce = 1}}, 1);
  EXPECT_FALSE(
      at::equal(summed.Get("blocks.1.q.weight").grad(), params.Get("blocks.1.q.weight").grad()));
}

// Values and moments of what stays in use move along; what is new begins without moments.
TEST(Retie, KeepsWhatTheOptimiserKnows) {
  const ModelConfig config = SmallConfig();
  const Model model = RandomModel(config, IdentityPlan(config));
  Params params = AllTrained(model);
  Optimizer optimizer(params, {});
  params.grad().uniform_(-1, 1);
  optimizer.Step(1e-3, optimizer.GradNorm());
  const OptimizerState before = optimizer.Collect();
  const auto moment = [](const OptimizerState& state, const Param& param) {
    return Params::Part(state.m, param).clone();
  };
  const at::Tensor m3 = moment(before, params.At("blocks.3.o.weight")),
                   w3 = params.Get("blocks.3.o.weight").clone(),
                   w1 = params.Get("blocks.1.o.weight").clone();

  Ties first = {.state = StartTies(config, TieUnits::kLayer, TieStart::kIndependent, false),
                .residual = {},
                .plan = model.plan};
  Ties second = first;
  second.state.units[0].Act(2, 1, Untie::kCopy);
  second.plan = PlanOfTies(config, model.plan, second.state, {});
  const TrainGroup all[] = {{"*"}};
  const auto retie = [&](const Ties& from, const Ties& to) {
    optimizer.Retie(params.Retie(to.plan, TensorsOfTies(params, config, from, to, nullptr), all));
  };
  retie(first, second);
  EXPECT_TRUE(at::equal(params.Get("blocks.2.o.weight"), w3));  // was block 3
  EXPECT_TRUE(at::equal(moment(optimizer.Collect(), params.At("blocks.2.o.weight")), m3));
  EXPECT_FALSE(params.Has("blocks.3.o.weight"));
  EXPECT_EQ(params.trained_elements(), CountParameters(config, second.plan).Total());

  Ties third = second;
  third.state.units[0].Act(2, 2, Untie::kCopy);
  third.plan = PlanOfTies(config, model.plan, third.state, {});
  retie(second, third);
  EXPECT_TRUE(at::equal(params.Get("blocks.2.o.weight"), w1));  // a copy of what it used
  const OptimizerState after = optimizer.Collect();
  EXPECT_EQ(moment(after, params.At("blocks.2.o.weight")).abs().max().item<float>(), 0);
  EXPECT_TRUE(at::equal(moment(after, params.At("blocks.3.o.weight")), m3));
  EXPECT_EQ(after.born.at("blocks.2.o.weight"), 1);
  EXPECT_FALSE(after.born.contains("blocks.3.o.weight"));
}

// With a residual of full rank a newly tied layer stays what it was; restored, it is again what it
// was in the beginning.
TEST(Retie, ResidualsKeepTheLayerAndRestoringGivesItBack) {
  const ModelConfig config = SmallConfig();
  const Model model = RandomModel(config, IdentityPlan(config));
  for (const ResidualKind kind :
       {ResidualKind::kLora, ResidualKind::kLoraDiag, ResidualKind::kDora}) {
    Params params = AllTrained(model);
    const TieResidual residual = {.kind = kind, .rank = 64};
    Ties first = {.state = StartTies(config, TieUnits::kLayer, TieStart::kIndependent, true),
                  .residual = residual,
                  .plan = model.plan};
    first.plan = PlanOfTies(config, model.plan, first.state, residual);
    Ties second = first;
    second.state.units[0].Act(2, 1, Untie::kCopy);
    second.plan = PlanOfTies(config, model.plan, second.state, residual);
    const TrainGroup all[] = {{"*"}};
    params.Retie(second.plan, TensorsOfTies(params, config, first, second, nullptr), all);
    const TokenBatch batch = RandomBatch(2, 8, config.vocab);
    const auto loss = [&](const SharingPlan& plan) {
      Student student(params, config, plan, 32, ComputeType::kF32, Recompute::kNone, nullptr);
      return student.CrossEntropy(batch, {});
    };
    Params untied = AllTrained(model);
    Student original = MakeStudent(untied, model);
    const double want = original.CrossEntropy(batch, {});
    EXPECT_NEAR(loss(second.plan), want, 1e-4) << Name(kind);  // f32 factors, 4 layers
    const Ties third = {.state = first.state, .residual = residual, .plan = first.plan};
    params.Retie(third.plan, TensorsOfTies(params, config, second, third, &model), all);
    EXPECT_NEAR(loss(third.plan), want, 1e-4) << Name(kind);
    EXPECT_TRUE(at::equal(params.Get("blocks.2.up.weight"), untied.Get("blocks.2.up.weight")));
    // Copied instead, the layer keeps what it was with its residual.
    params.Retie(second.plan, TensorsOfTies(params, config, third, second, nullptr), all);
    params.Retie(third.plan, TensorsOfTies(params, config, second, third, nullptr), all);
    EXPECT_NEAR(loss(third.plan), want, 1e-4) << Name(kind);
  }
}

}  // namespace
}  // namespace rondo
