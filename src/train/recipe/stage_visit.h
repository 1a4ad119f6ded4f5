// The keys of [train] and [[stages]].
#pragma once

#include "train/recipe/recipe_visit.h"

namespace rondo {

// What of a stage and its recipe decides which of its keys count.
struct StageConditions {
  Condition language, distill, untied, teacher;

  StageConditions(const StageOptions& o, const RecipeKind& kind, bool tied)
      : language(ForLanguage(kind)),
        distill(Both(language, {o.kind == StageKind::kDistill, "with kind = \"distill\""})),
        untied{!tied, "in another stage than the one whose layers are tied"},
        teacher{kind.teacher, "with a teacher"} {}
};

template <typename Visitor>
void VisitLimits(StageOptions& o, const StageConditions& c, Visitor& v) {
  const auto bound = AtLeast(0);
  const auto count = Between(1, 65536);
  v({.name = "kind",
     .help = "distill (end to end) or align (every depth on the teacher's own inputs)",
     .when = Both(c.language, {c.untied.holds || o.kind == StageKind::kDistill, c.untied.only})},
    o.kind);
  v({.name = "steps", .help = "optimiser steps; 0: not bounded by them", .range = bound}, o.steps);
  v({.name = "tokens", .help = "trained tokens; 0: not bounded by them", .range = bound}, o.tokens);
  v({.name = "minutes",
     .help = "minutes of training, as measured; 0: not bounded by them",
     .range = bound},
    o.minutes);
  v({.name = "batch", .help = "rows of a forward pass", .range = count, .when = c.language},
    o.batch);
  v({.name = "accumulate", .help = "forward passes of a step", .range = count}, o.accumulate);
}

template <typename Visitor>
void VisitOptimizer(StageOptions& o, Visitor& v) {
  const Condition falls = {o.schedule != LrSchedule::kConstant, "with a schedule that falls"};
  v({.name = "parameters",
     .help = "patterns of the tensors that are trained; pattern:factor scales the learning rate"},
    o.parameters);
  v({.name = "balance",
     .help = "begin with both factors of a low-rank residual equally long, which leaves the model "
             "as it is"},
    o.balance);
  v({.name = "lr", .help = "learning rate", .range = Above(0)}, o.lr);
  v({.name = "schedule", .help = "course of the learning rate after the warm-up"}, o.schedule);
  v({.name = "warmup",
     .help = "share of the stage in which the learning rate rises from 0",
     .range = Share()},
    o.warmup);
  v({.name = "decay",
     .help = "share of the stage at its end in which the learning rate falls",
     .range = Share(),
     .when = {o.schedule == LrSchedule::kTrapezoid, "with schedule = \"trapezoid\""}},
    o.decay);
  v({.name = "final_lr",
     .help = "share of the learning rate that is left at the end",
     .range = Share(),
     .when = falls},
    o.final_lr);
  v({.name = "beta1", .help = "AdamW: decay of the mean gradient", .range = ShareBelowOne()},
    o.beta1);
  v({.name = "beta2", .help = "AdamW: decay of the mean square", .range = ShareBelowOne()},
    o.beta2);
  v({.name = "eps", .help = "AdamW: added to the root of the mean square", .range = Above(0)},
    o.eps);
  v({.name = "weight_decay", .help = "AdamW: decay of matrices", .range = AtLeast(0)},
    o.weight_decay);
  v({.name = "clip", .help = "largest norm of the gradient; 0: any", .range = AtLeast(0)}, o.clip);
  v({.name = "ema",
     .help = "decay of a running average of the parameters, which is then the result; 0: none",
     .range = ShareBelowOne()},
    o.ema);
  v({.name = "spike",
     .help = "skip steps whose loss is above this many times the running mean; 0: skip none",
     .range = {.least = 1, .above = true, .off = 0}},
    o.spike);
}

template <typename Visitor>
void VisitRounding(StageOptions& o, const RecipeKind& kind, const StageConditions& c, Visitor& v) {
  const Condition rounds =
      Both(Both(c.language, c.untied), {o.mixture == 0 || o.round.empty(), "without a mixture"});
  v({.name = "round",
     .help = "pattern:type of the matrices that train as they are stored in that type, whose first "
             "pattern decides; model.gguf holds the result",
     .when = rounds},
    o.round);
  v({.name = "round_lr",
     .help = "factor on the learning rate of their scales and offsets",
     .range = AtLeast(0),
     .when = Both(rounds, {!o.round.empty() || kind.rounded, "with round or rounded"})},
    o.round_lr);
}

template <typename Visitor>
void VisitTeaching(StageOptions& o, const RecipeKind& kind, const StageConditions& c, Visitor& v) {
  // Alignment has losses of its own; the rest may always be told to learn nothing.
  const Condition apart = {kind.speech || o.kind == StageKind::kDistill, "with kind = \"distill\""};
  const Condition kd = Both(apart, {o.kd > 0, "with kd above 0"});
  v({.name = "kd",
     .help = "weight of the divergence from the teacher",
     .range = AtLeast(0),
     .when = Both(apart, {c.teacher.holds || o.kd == 0, c.teacher.only})},
    o.kd);
  v({.name = "divergence", .help = "measure of the distance from the teacher", .when = kd},
    o.divergence);
  v({.name = "temperature",
     .help = "temperature of the divergence, which is scaled by its square",
     .range = Above(0),
     .when = kd},
    o.temperature);
  v({.name = "js_lambda",
     .help = "share of the teacher in the mixture of jensen-shannon",
     .range = {.least = 0, .most = 1, .above = true, .below = true},
     .when = Both(
         kd, {o.divergence == KdKind::kJensenShannon, "with divergence = \"jensen-shannon\""})},
    o.js_lambda);
  v({.name = "hidden",
     .help = "weight of matching the teacher's hidden states",
     .range = AtLeast(0),
     .when = Both(apart, {c.teacher.holds || o.hidden == 0, c.teacher.only})},
    o.hidden);
  v({.name = "hidden_depths",
     .help = "depths behind which hidden states are matched",
     .when = Both(apart, {o.hidden > 0, "with hidden above 0"})},
    o.hidden_depths);
}

template <typename Visitor>
void VisitLosses(StageOptions& o, const RecipeKind& kind, const StageConditions& c, Visitor& v) {
  v({.name = "ce", .help = "weight of cross-entropy", .range = AtLeast(0), .when = c.distill},
    o.ce);
  VisitTeaching(o, kind, c, v);
  const Condition exits = Both(c.distill, c.untied);
  v({.name = "exits", .help = "losses behind the loops before the last", .when = exits}, o.exits);
  v({.name = "exit_weight",
     .help = "weight of each of them",
     .range = AtLeast(0),
     .when = Both(exits, {o.exits == kAggressiveExitLoss, "with exits = \"aggressive\""})},
    o.exit_weight);
  v({.name = "exit_kd",
     .help = "share of them that is KL from the detached last output",
     .range = Share(),
     .when = Both(exits, {o.exits != kNoExitLoss, "with exits"})},
    o.exit_kd);
  v({.name = "gate",
     .help = "weight of the learned exit gate's loss, which moves the gate alone; 0: no gate",
     .range = AtLeast(0),
     .when = Both(c.distill, {c.untied.holds || o.gate == 0, c.untied.only})},
    o.gate);
  v({.name = "layer_dropout",
     .help = "rate at which rows skip the last depth, and earlier ones less; 0: none",
     .range = ShareBelowOne(),
     .when = c.distill},
    o.layer_dropout);
  v({.name = "mixture",
     .help = "copies of each low-rank residual, of which a step draws one; merged in the end; 0: "
             "none",
     .range = {.least = 2, .most = 64, .off = 0},
     .when = Both(c.language, c.untied)},
    o.mixture);
  v({.name = "consistency",
     .help = "weight of the symmetric KL between two draws of the mixture",
     .range = AtLeast(0),
     .when = Both(c.distill, {o.mixture != 0, "with a mixture"})},
    o.consistency);
}

template <typename Visitor>
void VisitFade(StageOptions& o, Visitor& visitor, const Condition& when) {
  Only v(visitor, when);
  v({.name = "fade", .help = "how what the fold lacks of the teacher fades out"}, o.fade);
  Only faded(v, {o.fade != FadeKind::kNone, "with fade = \"linear\" or \"cosine\""});
  faded({.name = "fade_by",
         .help = "what goes: scale (all of it shrinks) or rank (smallest directions first)"},
        o.fade_by);
  faded({.name = "fade_until",
         .help = "share of the stage at which it is gone",
         .range = ShareAboveZero()},
        o.fade_until);
  faded({.name = "fade_power", .help = "exponent of what remains", .range = Above(0)},
        o.fade_power);
  faded({.name = "fade_window",
         .help = "share of the fade that each group of tied depths takes; 1: all together",
         .range = ShareAboveZero()},
        o.fade_window);
  faded({.name = "fade_backward",
         .help = "the last groups go first",
         .when = {o.fade_window < 1, "with fade_window below 1"}},
        o.fade_backward);
}

template <typename Visitor>
void Visit(StageOptions& o, const RecipeKind& kind, bool tied, Visitor& v) {
  const StageConditions c(o, kind, tied);
  VisitLimits(o, c, v);
  VisitOptimizer(o, v);
  VisitRounding(o, kind, c, v);
  VisitLosses(o, kind, c, v);
  v({.name = "widths",
     .help = "shares of the feed-forward's width, of which every step trains one; empty: the whole",
     .when = Both(c.language, c.untied)},
    o.widths);
  VisitFade(o, v, Both(c.language, c.untied));
  v({.name = "checkpoint",
     .help = "activations kept: none (all of them), those of one loop or one depth at a time",
     .when = c.language},
    o.checkpoint);
  v({.name = "compute", .help = "operands of products"}, o.compute);
}

}  // namespace rondo
