#include "train/tying/tying.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/glob.h"
#include "base/options.h"
#include "rondo/error.h"
#include "train/recipe/place.h"

namespace rondo {
namespace {

QAgentOptions AgentOf(const TyingSection& s, uint64_t seed) {
  return {.hidden = s.hidden,
          .discount = s.discount,
          .lr = s.agent_lr,
          .weight_decay = s.agent_decay,
          .replay = s.replay,
          .replay_batch = s.replay_batch,
          .target_every = s.target_every,
          .seed = seed,
          .favoured = {},
          .head_start = s.own_value};
}

// Choices by depth as text; a layer that nothing was decided about is a dot.
std::string OwnersText(const TieUnit& unit) {
  std::string text = unit.name + ":";
  for (size_t d = 0; d < unit.choice.size(); ++d) {
    int owner = static_cast<int>(d);
    while (unit.choice[static_cast<size_t>(owner)] != owner) {
      owner = unit.choice[static_cast<size_t>(owner)];
    }
    text += ' ';
    text += unit.frozen[d] != 0 ? "." : std::to_string(owner);
  }
  return text;
}

nlohmann::json UnitsToJson(const TieState& state) {
  nlohmann::json units = nlohmann::json::array();
  for (const TieUnit& unit : state.units) {
    units.push_back({{"choice", unit.choice},
                     {"own", unit.own},
                     {"storage", unit.storage},
                     {"frozen", unit.frozen}});
  }
  return units;
}

void UnitsFromJson(const nlohmann::json& units, TieState& state) {
  for (size_t i = 0; i < state.units.size(); ++i) {
    const nlohmann::json& unit = units.at(i);
    unit.at("choice").get_to(state.units[i].choice);
    unit.at("own").get_to(state.units[i].own);
    unit.at("storage").get_to(state.units[i].storage);
    unit.at("frozen").get_to(state.units[i].frozen);
  }
}

[[noreturn]] void FailLog(const std::string& path, std::string problem) {
  throw Error({.function = "Tying",
               .problem = std::move(problem),
               .expected = "the decisions of a run with the same layers and units",
               .file = path,
               .field = "tying.decisions"});
}

}  // namespace

TyingOptions ResolveTying(const Recipe& recipe, const Model& model) {
  const TyingSection& s = *recipe.tying;
  const Place place = {recipe.file, "tying"};
  const int layers = model.config.layers;
  place.Check(s.keep <= layers, "keep", s.keep, "0 to the number of layers");
  place.Check(layers > 1, "mode", layers, "a model of several layers");
  if (s.undo > 0 && s.untie != Untie::kRestore) {
    place.Fail("untie", "'" + ToText(s.untie) + "' with undo",
               "restore: a layer gets back what it had");
  }
  if (!(model.plan == IdentityPlan(model.config))) {
    Place{recipe.file, ""}.Fail("tying", "a model whose layers share tensors or have residuals",
                                "one that shares nothing");
  }
  return {.section = s,
          .own_norms = s.norms == TieNorms::kOwn,
          .summed = s.gradients == TieGradients::kSum,
          .residual = {s.residual, s.rank, s.residual_start},
          .agent = AgentOf(s, recipe.run.seed),
          .policy = {.kind = s.policy, .keep = s.keep, .plan = s.plan, .seed = recipe.run.seed}};
}

int TiedStage(const Recipe& recipe) {
  if (!recipe.tying) return -1;
  const std::string& wanted = recipe.tying->stage;
  if (wanted.empty()) return 0;
  int found = -1, count = 0;
  std::string names;
  for (size_t i = 0; i < recipe.stages.size(); ++i) {
    const std::string& name = recipe.stages[i].name;
    names += (i == 0 ? "'" : ", '") + name + "'";
    if (name != wanted) continue;
    found = static_cast<int>(i);
    ++count;
  }
  if (count == 1) return found;
  Place{recipe.file, "tying"}.Fail(
      "stage", "'" + wanted + "'" + (count > 1 ? ", which several stages are called" : ""),
      "one stage's name of " + names);
}

void CheckTyingRanks(const Recipe& recipe, int ranks) {
  if (ranks == 1) return;
  Place{recipe.file, ""}.Fail("tying", std::to_string(ranks) + " processes",
                              "one: layers tie themselves in single processes only");
}

Tying::Tying(const Recipe& recipe, const Model& model)
    : options_(ResolveTying(recipe, model)), config_(model.config), base_(model.plan) {
  ties_.residual = options_.residual;
  const TyingSection& s = options_.section;
  // A policy ties layers that were independent until then.
  const TieStart start = s.mode == TyingMode::kFixed ? TieStart::kIndependent : s.start;
  Update(StartTies(config_, s.unit, start, options_.own_norms));
  untied_ = CountParameters(config_, base_).NonEmbedding();
  if (s.untie == Untie::kRestore) original_ = model;
  if (s.mode == TyingMode::kReplay) ReadDecisions(s.decisions);
  if (s.mode != TyingMode::kRl) return;
  const int units = static_cast<int>(ties_.state.units.size()), layers = config_.layers;
  QAgentOptions agent = options_.agent;
  for (int u = 0; u < units; ++u) {
    for (int d = 1; d < layers; ++d) {
      agent.favoured.push_back(SliceOf({.unit = u, .depth = d}).begin + d);
    }
  }
  agent_.emplace(agent, units * layers, units * layers * (layers + 1) / 2);
}

void Tying::Update(TieState state) {
  ties_.state = std::move(state);
  ties_.plan = PlanOfTies(config_, base_, ties_.state, ties_.residual);
}

Ties Tying::Untied() const {
  return {.state =
              StartTies(config_, options_.section.unit, TieStart::kIndependent, options_.own_norms),
          .residual = ties_.residual,
          .plan = base_};
}

int64_t Tying::Stored(const TieState& state) const {
  return StoredParameters(config_, base_, state, ties_.residual);
}

double Tying::StoredShare() const {
  return static_cast<double>(Stored(ties_.state)) / static_cast<double>(untied_);
}

// An episode asks about every layer but the first, of each the units in turn.
Tying::Position Tying::PositionOf(int64_t decision) const {
  const auto units = static_cast<int64_t>(ties_.state.units.size());
  const int64_t of_episode = units * (config_.layers - 1), at = decision % of_episode;
  return {.unit = static_cast<int>(at % units),
          .depth = static_cast<int>(1 + at / units),
          .episode = decision / of_episode};
}

ActionSlice Tying::SliceOf(const Position& at) const {
  const int of_unit = config_.layers * (config_.layers + 1) / 2;
  return {at.unit * of_unit + at.depth * (at.depth + 1) / 2, at.depth + 1};
}

bool Tying::Due(int64_t stage_step, double progress) const {
  if (options_.section.mode == TyingMode::kFixed) {
    return !applied_ && progress >= options_.section.policy_at;
  }
  return open_ ? stage_step % options_.section.interval == 0 : progress < options_.section.until;
}

// Actions within reach that keep within the budget, or, where none does, come nearest to it.
std::vector<uint8_t> Tying::Allowed(const Position& at, double progress) const {
  const TyingSection& s = options_.section;
  std::vector<uint8_t> allowed(static_cast<size_t>(at.depth) + 1, 1);
  for (int a = 0; s.reach > 0 && a < at.depth - s.reach; ++a) allowed[static_cast<size_t>(a)] = 0;
  if (s.budget == 0) return allowed;
  const auto untied = static_cast<double>(untied_);
  const double budget = s.budget <= 1 ? s.budget * untied : s.budget;
  const double falling = s.budget_by - s.budget_from;
  const double share =
      progress >= s.budget_by ? 1.0 : std::max(0.0, (progress - s.budget_from) / falling);
  const double limit = untied + share * (budget - untied);
  std::vector<double> excess(allowed.size());
  double least = 1e300;
  for (int a = 0; a <= at.depth; ++a) {
    const auto i = static_cast<size_t>(a);
    if (allowed[i] == 0) continue;
    TieState state = ties_.state;
    state.units[static_cast<size_t>(at.unit)].Act(at.depth, a, options_.section.untie);
    excess[i] = std::max(0.0, static_cast<double>(Stored(state)) - limit);
    least = std::min(least, excess[i]);
  }
  for (size_t i = 0; i < allowed.size(); ++i) allowed[i] = allowed[i] != 0 && excess[i] <= least;
  return allowed;
}

RunMetrics Tying::TieEvent(int unit) const {
  return {.event = "tie", .text = OwnersText(ties_.state.units[static_cast<size_t>(unit)])};
}

std::vector<RunMetrics> Tying::Decide(double progress, const TieProbeStart& probe,
                                      const Params& params) {
  TieState state = ties_.state;
  if (options_.section.mode == TyingMode::kFixed) {
    std::vector<RunMetrics> events;
    for (TieUnit& unit : state.units) {
      const std::vector<int> choices = ChoicesOfPolicy(options_.policy, unit, params, ties_.plan);
      for (int d = 1; d < config_.layers; ++d) {
        unit.Act(d, choices[static_cast<size_t>(d)], options_.section.untie);
      }
    }
    Update(std::move(state));
    applied_ = true;
    for (size_t i = 0; i < ties_.state.units.size(); ++i) {
      events.push_back(TieEvent(static_cast<int>(i)));
    }
    return events;
  }
  const Position at = PositionOf(decisions_);
  const TyingSection& s = options_.section;
  const double epsilon = std::max(
      s.epsilon_floor, s.epsilon * std::pow(s.epsilon_decay, static_cast<double>(at.episode)));
  QAgent::Chosen chosen;
  const std::vector<uint8_t> allowed = Allowed(at, progress);
  if (agent_) {
    chosen = agent_->Choose(state.Vector(), SliceOf(at), allowed, epsilon, decisions_);
  } else {
    if (decisions_ >= static_cast<int64_t>(recorded_.size())) {
      FailLog(s.decisions, std::to_string(recorded_.size()) + " decisions, and one more is due");
    }
    chosen.action = recorded_[static_cast<size_t>(decisions_)];
    if (chosen.action > at.depth) FailLog(s.decisions, "an action beyond its layer");
  }
  open_ = {.at = at, .action = chosen.action, .state = state.Vector(), .probe = probe};
  const int kept = state.units[static_cast<size_t>(at.unit)].choice[static_cast<size_t>(at.depth)];
  if (s.undo > 0 && allowed[static_cast<size_t>(kept)] != 0) open_->before = state;
  if (options_.section.reward == TieReward::kRelative) open_->stored = StoredShare();
  state.units[static_cast<size_t>(at.unit)].Act(at.depth, chosen.action, options_.section.untie);
  Update(std::move(state));
  RunMetrics event = TieEvent(at.unit);
  event.more = {{"decision", static_cast<double>(decisions_)},
                {"episode", static_cast<double>(at.episode)},
                {"unit", at.unit},
                {"depth", at.depth},
                {"action", chosen.action}};
  if (agent_) {
    event.more["explored"] = chosen.explored;
    event.more["epsilon"] = epsilon;
    event.more["value"] = chosen.value;
  }
  return {event};
}

double Tying::Quality(double cross_entropy) const {
  double quality = 0;
  switch (options_.section.reward) {
    case TieReward::kPerplexity:
      quality = -std::exp(cross_entropy);
      break;
    case TieReward::kBits:
      quality = -cross_entropy / std::log(2.0);
      break;
    case TieReward::kRelative:
      quality = 100 * (1 - cross_entropy / open_->probe.cross_entropy);
      break;
  }
  const double clip = options_.section.reward_clip;
  return clip > 0 ? std::clamp(quality, -clip, clip) : quality;
}

RunMetrics Tying::Close(double cross_entropy) {
  const double stored = StoredShare() - open_->stored;
  const double reward = Quality(cross_entropy) - options_.section.size_weight * stored;
  RunMetrics event{.event = "reward"};
  event.more = {{"decision", static_cast<double>(decisions_)},
                {"probe_ce", cross_entropy},
                {"reward", reward}};
  if (agent_) {
    const QAgent::Update update = agent_->Learn({.state = std::move(open_->state),
                                                 .slice = SliceOf(open_->at),
                                                 .action = open_->action,
                                                 .reward = static_cast<float>(reward),
                                                 .next = ties_.state.Vector()},
                                                decisions_);
    event.more["agent_loss"] = update.loss;
    event.more["target"] = update.target;
  }
  if (open_->before && reward < -options_.section.undo) {
    Update(std::move(*open_->before));
    event.more["undone"] = 1;
  }
  ++decisions_;
  open_.reset();
  return event;
}

std::vector<TrainGroup> Tying::Groups(std::span<const TrainGroup> groups,
                                      std::span<const std::string> names) const {
  std::vector<TrainGroup> all;
  for (const std::string& name : FrozenTensors(config_, ties_)) all.push_back({name, 0});
  // Residuals may be named that do not exist yet.
  for (const TrainGroup& group : groups) {
    const auto matches = [&](const std::string& name) { return GlobMatch(group.pattern, name); };
    if (std::ranges::any_of(names, matches)) all.push_back(group);
  }
  return all;
}

void Tying::Describe(RunMetrics& metrics) const {
  metrics.more["independent_layers"] = ties_.state.IndependentLayers();
  metrics.more["stored_parameters"] = static_cast<double>(Stored(ties_.state));
}

nlohmann::json Tying::Save() const {
  nlohmann::json json = {
      {"decisions", decisions_}, {"applied", applied_}, {"units", UnitsToJson(ties_.state)}};
  if (open_) {
    json["open"] = {{"action", open_->action},
                    {"state", open_->state},
                    {"next_row", open_->probe.sampler.next_row},
                    {"data", open_->probe.sampler.data},
                    {"cross_entropy", open_->probe.cross_entropy},
                    {"stored", open_->stored}};
    if (open_->before) json["open"]["before"] = UnitsToJson(*open_->before);
  }
  return json;
}

std::vector<std::pair<std::string, Tensor>> Tying::SaveTensors() const {
  return agent_ ? agent_->Save() : std::vector<std::pair<std::string, Tensor>>();
}

void Tying::Load(const nlohmann::json& json, const std::string& json_file,
                 const std::string& tensors) {
  try {
    decisions_ = json.at("decisions").get<int64_t>();
    applied_ = json.at("applied").get<bool>();
    TieState state = ties_.state;
    UnitsFromJson(json.at("units"), state);
    Update(std::move(state));
    if (json.contains("open")) {
      const nlohmann::json& open = json.at("open");
      open_ = {.at = PositionOf(decisions_),
               .action = open.at("action").get<int>(),
               .state = open.at("state").get<std::vector<float>>(),
               .probe = {.sampler = {open.at("next_row").get<uint64_t>(),
                                     open.at("data").get<uint64_t>()},
                         .cross_entropy = open.at("cross_entropy").get<double>()},
               .stored = open.at("stored").get<double>(),
               .before = {}};
      if (open.contains("before")) {
        open_->before = ties_.state;
        UnitsFromJson(open.at("before"), *open_->before);
      }
    }
  } catch (const nlohmann::json::exception& error) {
    throw Error({.function = "Tying::Load",
                 .problem = error.what(),
                 .expected = "the ties of a run",
                 .file = json_file,
                 .field = "tying"});
  }
  if (agent_) agent_->Load(tensors);
}

void Tying::ReadDecisions(const std::string& path) {
  const std::filesystem::path file = path;
  const std::string log = (IsDirectory(file) ? file / "metrics.jsonl" : file).string();
  for (const RunMetrics& line : ReadRunLog(log)) {
    if (line.event != "tie" || !line.more.contains("decision")) continue;
    const auto at = static_cast<size_t>(line.more.at("decision"));
    // A run that was resumed before its first checkpoint tells its first decision twice.
    if (at > recorded_.size()) FailLog(log, "no decision " + std::to_string(recorded_.size()));
    const int action = static_cast<int>(line.more.at("action"));
    const Position position = PositionOf(static_cast<int64_t>(at));
    if (line.more.at("depth") != position.depth || line.more.at("unit") != position.unit ||
        action < 0) {
      FailLog(log, "decision " + std::to_string(at) + " is about another layer");
    }
    recorded_.resize(std::max(recorded_.size(), at + 1));
    recorded_[at] = action;
  }
  if (recorded_.empty()) FailLog(log, "no decisions");
}

}  // namespace rondo
