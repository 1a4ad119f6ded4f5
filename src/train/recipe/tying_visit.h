// The keys of [tying].
#pragma once

#include "train/recipe/recipe_visit.h"

namespace rondo {

inline constexpr std::array<std::string_view, 4> kTiedResiduals = {"none", "lora", "lora-diag",
                                                                   "dora"};

template <typename Visitor>
void VisitTies(TyingSection& o, const Condition& decides, Visitor& v) {
  const Condition residual = {o.residual != ResidualKind::kNone, "with a residual"};
  v({.name = "stage", .help = "name of the stage in which layers are tied; empty: the first"},
    o.stage);
  v({.name = "unit", .help = "what a decision is about (half: attention or feed-forward)"}, o.unit);
  v({.name = "norms", .help = "tied (with their layer or half) or own"}, o.norms);
  v({.name = "start",
     .help = "layers at first: frozen (until the first decision), independent, or tied to the "
             "first",
     .when = decides},
    o.start);
  v({.name = "untie",
     .help = "what a layer gets that becomes independent: a copy of the weights it used, these "
             "weights themselves, or what it had before the run",
     .when = decides},
    o.untie);
  v({.name = "gradients",
     .help = "gradients of shared tensors: of owner (the independent layer) alone, or sum of all"},
    o.gradients);
  v({.name = "residual", .help = "residual of tied layers", .among = kTiedResiduals}, o.residual);
  v({.name = "rank", .help = "rank of the residual", .range = AtLeast(1), .when = residual},
    o.rank);
  v({.name = "residual_start", .help = "fit (to the layer as it was) or zero", .when = residual},
    o.residual_start);
}

template <typename Visitor>
void VisitDecisions(TyingSection& o, Visitor& v) {
  const Condition budget = {o.budget > 0, "with a budget"};
  v({.name = "interval", .help = "steps between a decision and its reward", .range = AtLeast(1)},
    o.interval);
  v({.name = "until",
     .help = "share of the stage after which nothing more is decided",
     .range = Share()},
    o.until);
  v({.name = "reach",
     .help = "how many layers back a layer may take weights from; 0: any",
     .range = AtLeast(0)},
    o.reach);
  v({.name = "budget",
     .help = "most non-embedding parameters stored, up to 1 as a share; 0: any number",
     .range = AtLeast(0)},
    o.budget);
  v({.name = "budget_from",
     .help = "share of the stage from which the limit falls …",
     .range = Share(),
     .when = budget},
    o.budget_from);
  v({.name = "budget_by",
     .help = "… and at which it has reached the budget",
     .range = Share(),
     .when = budget},
    o.budget_by);
  v({.name = "reward",
     .help = "perplexity (its negative), bits (a token, negative) or relative (percent)"},
    o.reward);
  v({.name = "reward_clip", .help = "largest size of the reward; 0: any", .range = AtLeast(0)},
    o.reward_clip);
  v({.name = "size_weight", .help = "reward lost for storing as much as the untied model"},
    o.size_weight);
  v({.name = "undo",
     .help = "take back a decision that costs more reward than this, once it is learned; 0: none",
     .range = AtLeast(0)},
    o.undo);
}

template <typename Visitor>
void VisitAgent(TyingSection& o, Visitor& v) {
  v({.name = "hidden", .help = "width of the agent's network", .range = AtLeast(1)}, o.hidden);
  v({.name = "discount", .help = "factor on the value of the next state", .range = Share()},
    o.discount);
  v({.name = "epsilon",
     .help = "share of decisions made by chance in the first episode",
     .range = Share()},
    o.epsilon);
  v({.name = "epsilon_decay", .help = "factor on it after each episode", .range = Share()},
    o.epsilon_decay);
  v({.name = "epsilon_floor", .help = "least share of decisions by chance", .range = Share()},
    o.epsilon_floor);
  v({.name = "own_value", .help = "added to the first value of a layer's keeping its own weights"},
    o.own_value);
  v({.name = "agent_lr", .help = "learning rate of the agent (AdamW)", .range = AtLeast(0)},
    o.agent_lr);
  v({.name = "agent_decay", .help = "weight decay of the agent", .range = AtLeast(0)},
    o.agent_decay);
  v({.name = "replay",
     .help = "decisions remembered; 0: each update sees the last one alone",
     .range = AtLeast(0)},
    o.replay);
  v({.name = "replay_batch",
     .help = "remembered decisions of an update",
     .range = AtLeast(1),
     .when = {o.replay > 0, "with replay"}},
    o.replay_batch);
  v({.name = "target_every",
     .help = "updates between copies into a target network; 0: no such network",
     .range = AtLeast(0)},
    o.target_every);
}

template <typename Visitor>
void Visit(TyingSection& o, const RecipeKind& kind, Visitor& visitor) {
  Only v(visitor, ForLanguage(kind));
  const Condition decides = {o.mode != TyingMode::kFixed, "with mode = \"rl\" or \"replay\""};
  v({.name = "mode",
     .help = "who decides: rl (an agent), fixed (a policy), replay (what another run decided)"},
    o.mode);
  VisitTies(o, decides, v);
  Only deciding(v, decides);
  VisitDecisions(o, deciding);
  Only agent(v, {o.mode == TyingMode::kRl, "with mode = \"rl\""});
  VisitAgent(o, agent);
  Only fixed(v, {o.mode == TyingMode::kFixed, "with mode = \"fixed\""});
  fixed({.name = "policy", .help = "which layers are tied"}, o.policy);
  fixed({.name = "policy_at",
         .help = "share of the stage behind which it is applied",
         .range = Share()},
        o.policy_at);
  fixed({.name = "keep",
         .help = "independent layers that stay; 0: half of them",
         .range = AtLeast(0),
         .when = {o.policy == TiePolicy::kGreedy, "with policy = \"greedy\""}},
        o.keep);
  fixed({.name = "plan",
         .help = "a sharing plan as JSON, as `rondo fold --suggest` writes",
         .when = {o.policy == TiePolicy::kPlan, "with policy = \"plan\""}},
        o.plan);
  v({.name = "decisions",
     .help = "folder of the run that decided",
     .when = {o.mode == TyingMode::kReplay, "with mode = \"replay\""}},
    o.decisions);
}

}  // namespace rondo
