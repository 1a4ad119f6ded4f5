#include "train/recipe/stage.h"

#include <algorithm>
#include <charconv>

#include "base/glob.h"
#include "base/rng.h"
#include "rondo/error.h"
#include "rondo/ffn_width.h"
#include "train/model/mixture.h"
#include "train/model/step_key.h"
#include "train/recipe/place.h"
#include "train/recipe/stage_visit.h"

namespace rondo {
namespace {

// The names of choices.h stand for all values of what they name.
static_assert(kChoices<FadeBy>.size() == static_cast<size_t>(FadeBy::kRank) + 1);
static_assert(kChoices<Recompute>.size() == static_cast<size_t>(Recompute::kDepth) + 1);
static_assert(kChoices<ComputeType>.size() == static_cast<size_t>(ComputeType::kBf16) + 1);
static_assert(kChoices<KdKind>.size() == static_cast<size_t>(KdKind::kTotalVariation) + 1);
static_assert(kNoExitLoss == ExitLoss::kNone && kAggressiveExitLoss == ExitLoss::kAggressive);

TrainGroup ParseGroup(const std::string& text, const Place& place) {
  const size_t colon = text.rfind(':');
  TrainGroup group{.pattern = text.substr(0, colon)};
  if (colon == std::string::npos) return group;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data() + colon + 1, end, group.lr_scale);
  if (error != std::errc() || stop != end || !(group.lr_scale >= 0 && group.lr_scale <= 1e6)) {
    place.Fail("parameters", "'" + text + "'", "pattern or pattern:factor, such as residual.*:2");
  }
  return group;
}

std::vector<TrainGroup> Groups(const StageOptions& o, const Place& place) {
  std::vector<TrainGroup> groups;
  for (const std::string& text : o.parameters) groups.push_back(ParseGroup(text, place));
  if (!groups.empty()) return groups;
  // Alignment gives embedding, final norm and head no gradient; they would only decay.
  if (o.kind == StageKind::kAlign) return {{"blocks.*"}, {"residual.*"}};
  return {{"*"}};
}

void CheckStage(const Recipe& recipe, size_t index, const Place& place) {
  StageOptions o = recipe.stages[index];
  RangeCheck check(place.file, place.section + ".");
  Visit(o, KindOf(recipe), IsTied(recipe, index), check);
  const int bounds = (o.steps != 0) + (o.tokens != 0) + (o.minutes != 0);
  place.Check(bounds == 1, "minutes", bounds, "exactly one of steps, tokens, minutes");
}

// Throws for a share that is none.
std::vector<double> Widths(const StageOptions& o, const ModelConfig& config, const Place& place) {
  for (const double share : o.widths) {
    place.Named("widths", [&] { return FfnWidth(config, share); });
  }
  return o.widths;
}

LossOptions Losses(const StageOptions& o, const DataSection& data, const ModelConfig& config,
                   const Place& place) {
  place.Check(o.hidden == 0 || !o.hidden_depths.empty(), "hidden_depths", 0,
              "depths whose hidden states are matched");
  for (const int depth : o.hidden_depths) {
    place.Check(depth >= 0 && depth < config.layers, "hidden_depths", depth, "depths of the model");
  }
  LossOptions loss;
  loss.vocab.ce = static_cast<float>(o.ce);
  loss.vocab.kd = static_cast<float>(o.kd);
  loss.vocab.kind = o.divergence;
  loss.vocab.temperature = static_cast<float>(o.temperature);
  loss.vocab.js_lambda = static_cast<float>(o.js_lambda);
  loss.exits = o.exits;
  loss.exit_weight = o.exit_weight;
  loss.exit_kd = o.exit_kd;
  loss.hidden = o.hidden;
  loss.hidden_depths = o.hidden_depths;
  loss.documents_apart = data.documents_apart;
  loss.layer_dropout = o.layer_dropout;
  loss.gate = o.gate;
  loss.consistency = o.consistency;
  return loss;
}

// What can be learned from the most probable tokens alone.
void CheckCache(const Recipe& recipe, const LossOptions& loss, const Place& place) {
  if (recipe.teacher_cache.empty() || loss.vocab.kd == 0) return;
  if (loss.vocab.kind != KdKind::kForwardKl) {
    place.Fail("divergence", "'" + ToText(loss.vocab.kind) + "'",
               "forward-kl, the one that teacher_cache serves");
  }
  place.Check(loss.vocab.temperature == 1, "temperature", loss.vocab.temperature,
              "1 with teacher_cache");
  place.Check(loss.hidden == 0, "hidden", loss.hidden,
              "0 with teacher_cache, which keeps no states");
}

}  // namespace

Stage ResolveStage(const Recipe& recipe, size_t index, const ModelConfig& config) {
  const StageOptions& o = recipe.stages.at(index);
  const Place place = {recipe.file, "stages." + std::to_string(index)};
  CheckStage(recipe, index, place);
  Stage stage{
      .name = o.name,
      .kind = o.kind,
      .limits = o,
      .groups = Groups(o, place),
      .rounding = {.types = {}, .lr_scale = static_cast<float>(o.round_lr)},
      .lr = {.schedule = o.schedule, .warmup = o.warmup, .decay = o.decay, .final_lr = o.final_lr},
      .optimizer = {.beta1 = o.beta1,
                    .beta2 = o.beta2,
                    .eps = o.eps,
                    .weight_decay = o.weight_decay,
                    .clip = o.clip,
                    .ema = o.ema},
      .widths = Widths(o, config, place),
      .loss = Losses(o, recipe.data, config, place),
      .fade = {.kind = o.fade,
               .until = o.fade_until,
               .power = o.fade_power,
               .window = o.fade_window,
               .backward = o.fade_backward},
      .fade_by = o.fade_by,
      .recompute = o.checkpoint,
      .compute = o.compute};
  // Last, so that a pattern that names the gate decides about it.
  if (o.gate != 0) stage.groups.push_back({"exit_gate.*"});
  ParseRound(o.round, place);  // also before there is a model
  CheckCache(recipe, stage.loss, place);
  if (stage.NeedsTeacher() && recipe.teacher.empty()) {
    Place{recipe.file, ""}.Fail("teacher", "no teacher, but stage '" + o.name + "' learns from one",
                                "a model, or kd = 0, hidden = 0, fade = \"none\"");
  }
  return stage;
}

double WidthOfStep(const Stage& stage, uint64_t seed, int64_t step) {
  if (stage.widths.empty()) return 1;
  Rng rng(HashOfStep({.seed = seed, .step = step}, RandomStream::kWidth));
  return stage.widths[rng.Next() % stage.widths.size()];
}

void CheckPlan(const Recipe& recipe, size_t index, const Stage& stage, const Model& model) {
  const StageOptions& o = stage.limits;
  const Place place = {recipe.file, "stages." + std::to_string(index)};
  place.Check(o.gate == 0 || FindLoops(model.plan).loops > 1, "gate", o.gate,
              "0: the model's blocks do not return, there is no loop to leave");
  place.Check(o.mixture == 0 || !TrainedFactors(model.config, model.plan, stage.groups).empty(),
              "mixture", o.mixture,
              "0: the stage trains no residual of kind lora, lora-diag or dora");
}

void CheckPatterns(const Recipe& recipe, size_t index, const Weights& weights) {
  const StageOptions& o = recipe.stages.at(index);
  const Place place = {recipe.file, "stages." + std::to_string(index)};
  std::vector<std::string> names;
  for (const auto& [name, tensor] : weights) names.push_back(name);
  if (o.gate != 0) names.emplace_back("exit_gate.0.weight");
  for (const std::string& text : o.parameters) {
    const std::string pattern = ParseGroup(text, place).pattern;
    const auto matches = [&](const std::string& name) { return GlobMatch(pattern, name); };
    if (std::ranges::any_of(names, matches)) continue;
    place.Fail("parameters", "pattern '" + pattern + "' matches no parameter",
               UnknownNameHint(pattern, names));
  }
}

void CheckTeacher(const Recipe& recipe, const ModelConfig& model, const ModelConfig& teacher) {
  const Place root = {recipe.file, ""};
  for (size_t i = 0; i < recipe.stages.size(); ++i) {
    const Stage stage = ResolveStage(recipe, i, model);
    if (stage.kind != StageKind::kAlign && stage.loss.hidden == 0) continue;
    if (teacher.layers == model.layers && teacher.d_model == model.d_model) continue;
    const auto shape = [](const ModelConfig& c) {
      return std::to_string(c.layers) + " layers of width " + std::to_string(c.d_model);
    };
    root.Fail(
        "teacher", shape(teacher),
        "the model's " + shape(model) + ", as stage '" + stage.name + "' compares hidden states");
  }
  CheckLength(recipe, teacher, "teacher");
}

void CheckLength(const Recipe& recipe, const ModelConfig& config, const char* whose) {
  const std::string expected =
      std::string("at most the ") + whose + "'s " + std::to_string(config.max_positions);
  Place{recipe.file, "data"}.Check(recipe.data.length <= config.max_positions, "length",
                                   recipe.data.length, expected.c_str());
}

double StageProgress(const StageOptions& limits, int64_t steps, int64_t tokens, double seconds) {
  if (limits.steps > 0) return static_cast<double>(steps) / static_cast<double>(limits.steps);
  if (limits.tokens > 0) return static_cast<double>(tokens) / static_cast<double>(limits.tokens);
  return seconds / (60 * limits.minutes);
}

}  // namespace rondo
