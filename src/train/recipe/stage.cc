#include "train/recipe/stage.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <string_view>

#include "base/choice.h"
#include "base/glob.h"
#include "base/rng.h"
#include "rondo/error.h"
#include "rondo/ffn_width.h"
#include "train/model/mixture.h"
#include "train/model/step_key.h"
#include "train/recipe/place.h"

namespace rondo {
namespace {

constexpr std::array<std::string_view, 2> kStageNames = {"distill", "align"};
constexpr std::array<std::string_view, 4> kKdNames = {"forward-kl", "reverse-kl", "jensen-shannon",
                                                      "total-variation"};
constexpr std::array<std::string_view, 3> kExitNames = {"none", "weighted", "aggressive"};
constexpr std::array<std::string_view, 2> kFadeByNames = {"scale", "rank"};
constexpr std::array<std::string_view, 3> kCheckpointNames = {"none", "loop", "depth"};
constexpr std::array<std::string_view, 2> kComputeNames = {"f32", "bf16"};

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

std::vector<TrainGroup> Groups(const StageOptions& o, StageKind kind, const Place& place) {
  std::vector<TrainGroup> groups;
  for (const std::string& text : o.parameters) groups.push_back(ParseGroup(text, place));
  if (!groups.empty()) return groups;
  // Alignment gives embedding, final norm and head no gradient; they would only decay.
  if (kind == StageKind::kAlign) return {{"blocks.*"}, {"residual.*"}};
  return {{"*"}};
}

void CheckLimits(const StageOptions& o, const Place& place) {
  const int bounds = (o.steps != 0) + (o.tokens != 0) + (o.minutes != 0);
  place.Check(bounds == 1, "minutes", bounds, "exactly one of steps, tokens, minutes");
  place.Check(o.steps >= 0, "steps", static_cast<double>(o.steps), "0 or more");
  place.Check(o.tokens >= 0, "tokens", static_cast<double>(o.tokens), "0 or more");
  place.Check(o.minutes >= 0, "minutes", o.minutes, "0 or more");
  place.Check(o.batch > 0 && o.batch <= 65536, "batch", o.batch, "1 to 65536");
  place.Check(o.accumulate > 0 && o.accumulate <= 65536, "accumulate", o.accumulate, "1 to 65536");
}

void CheckRates(const StageOptions& o, const Place& place) {
  const auto share = [&](const char* field, double value) {
    place.Check(value >= 0 && value <= 1, field, value, "0 to 1");
  };
  place.Check(o.lr > 0, "lr", o.lr, "above 0");
  share("warmup", o.warmup);
  share("decay", o.decay);
  share("final_lr", o.final_lr);
  place.Check(o.beta1 >= 0 && o.beta1 < 1, "beta1", o.beta1, "0 to below 1");
  place.Check(o.beta2 >= 0 && o.beta2 < 1, "beta2", o.beta2, "0 to below 1");
  place.Check(o.ema >= 0 && o.ema < 1, "ema", o.ema, "0 to below 1");
  place.Check(o.eps > 0, "eps", o.eps, "above 0");
  place.Check(o.weight_decay >= 0, "weight_decay", o.weight_decay, "0 or more");
  place.Check(o.clip >= 0, "clip", o.clip, "0 or more");
  place.Check(o.spike == 0 || o.spike > 1, "spike", o.spike, "0, or above 1");
  place.Check(o.fade_until > 0 && o.fade_until <= 1, "fade_until", o.fade_until, "above 0, to 1");
  place.Check(o.fade_power > 0, "fade_power", o.fade_power, "above 0");
  place.Check(o.fade_window > 0 && o.fade_window <= 1, "fade_window", o.fade_window,
              "above 0, to 1");
}

// Throws for a share that is none.
std::vector<double> Widths(const StageOptions& o, const ModelConfig& config, const Place& place) {
  for (const double share : o.widths) {
    place.Named("widths", [&] { return FfnWidth(config, share); });
  }
  return o.widths;
}

void CheckRandomParts(const StageOptions& o, StageKind kind, const Place& place) {
  constexpr int kMostCopies = 64;
  place.Check(o.gate >= 0, "gate", o.gate, "0 or more");
  place.Check(o.layer_dropout >= 0 && o.layer_dropout < 1, "layer_dropout", o.layer_dropout,
              "0 to below 1");
  place.Check(o.mixture == 0 || (o.mixture >= 2 && o.mixture <= kMostCopies), "mixture", o.mixture,
              "0, or 2 to 64");
  place.Check(o.consistency >= 0, "consistency", o.consistency, "0 or more");
  place.Check(o.consistency == 0 || o.mixture != 0, "consistency", o.consistency,
              "0 without a mixture, whose draws it compares");
  if (kind != StageKind::kAlign) return;
  place.Check(o.gate == 0, "gate", o.gate, "0 in alignment, which has no outputs to compare");
  place.Check(o.layer_dropout == 0, "layer_dropout", o.layer_dropout,
              "0 in alignment, where every depth learns for itself");
  place.Check(o.consistency == 0, "consistency", o.consistency,
              "0 in alignment, which has no outputs to compare");
}

LossOptions Losses(const StageOptions& o, const DataSection& data, const ModelConfig& config,
                   const Place& place) {
  place.Check(o.ce >= 0, "ce", o.ce, "0 or more");
  place.Check(o.kd >= 0, "kd", o.kd, "0 or more");
  place.Check(o.temperature > 0, "temperature", o.temperature, "above 0");
  place.Check(o.js_lambda > 0 && o.js_lambda < 1, "js_lambda", o.js_lambda, "between 0 and 1");
  place.Check(o.hidden >= 0, "hidden", o.hidden, "0 or more");
  place.Check(o.exit_weight >= 0, "exit_weight", o.exit_weight, "0 or more");
  place.Check(o.exit_kd >= 0 && o.exit_kd <= 1, "exit_kd", o.exit_kd, "0 to 1");
  place.Check(o.hidden == 0 || !o.hidden_depths.empty(), "hidden_depths", 0,
              "depths whose hidden states are matched");
  for (const int depth : o.hidden_depths) {
    place.Check(depth >= 0 && depth < config.layers, "hidden_depths", depth, "depths of the model");
  }
  LossOptions loss;
  loss.vocab.ce = static_cast<float>(o.ce);
  loss.vocab.kd = static_cast<float>(o.kd);
  loss.vocab.kind = place.Named(
      "divergence", [&] { return ChoiceFromName<KdKind>(kKdNames, o.divergence, "ResolveStage"); });
  loss.vocab.temperature = static_cast<float>(o.temperature);
  loss.vocab.js_lambda = static_cast<float>(o.js_lambda);
  loss.exits = place.Named(
      "exits", [&] { return ChoiceFromName<ExitLoss>(kExitNames, o.exits, "ResolveStage"); });
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
  const Place root = {place.file, ""};
  root.Check(recipe.teacher_top_k > 0, "teacher_top_k", recipe.teacher_top_k, "1 or more");
  if (loss.vocab.kind != KdKind::kForwardKl) {
    place.Fail("divergence", "another divergence", "forward-kl, the one that teacher_cache serves");
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
  CheckLimits(o, place);
  CheckRates(o, place);
  Stage stage{.name = o.name, .limits = o};
  stage.kind = place.Named(
      "kind", [&] { return ChoiceFromName<StageKind>(kStageNames, o.kind, "ResolveStage"); });
  CheckRandomParts(o, stage.kind, place);
  stage.groups = Groups(o, stage.kind, place);
  // Last, so that a pattern that names the gate decides about it.
  if (o.gate != 0) stage.groups.push_back({"exit_gate.*"});
  stage.lr = {.schedule = place.Named("schedule", [&] { return LrScheduleFromName(o.schedule); }),
              .warmup = o.warmup,
              .decay = o.decay,
              .final_lr = o.final_lr};
  stage.optimizer = {.beta1 = o.beta1,
                     .beta2 = o.beta2,
                     .eps = o.eps,
                     .weight_decay = o.weight_decay,
                     .clip = o.clip,
                     .ema = o.ema};
  stage.widths = Widths(o, config, place);
  stage.loss = Losses(o, recipe.data, config, place);
  stage.fade = {.kind = place.Named("fade", [&] { return FadeKindFromName(o.fade); }),
                .until = o.fade_until,
                .power = o.fade_power,
                .window = o.fade_window,
                .backward = o.fade_backward};
  stage.fade_by = place.Named(
      "fade_by", [&] { return ChoiceFromName<FadeBy>(kFadeByNames, o.fade_by, "ResolveStage"); });
  stage.recompute = place.Named("checkpoint", [&] {
    return ChoiceFromName<Recompute>(kCheckpointNames, o.checkpoint, "ResolveStage");
  });
  stage.compute = place.Named("compute", [&] {
    return ChoiceFromName<ComputeType>(kComputeNames, o.compute, "ResolveStage");
  });
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
