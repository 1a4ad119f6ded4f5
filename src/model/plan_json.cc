#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "base/json.h"
#include "base/with_file.h"
#include "rondo/sharing_plan.h"

namespace rondo {
namespace {

using Json = nlohmann::ordered_json;

// A list with one entry for each depth: readers of a plan count on it before it is validated.
std::vector<int> PerDepth(JsonObject& object, const char* key, int depths) {
  std::vector<int> entries = object.Ints(key);
  if (entries.size() != static_cast<size_t>(depths)) {
    object.Fail(key, std::to_string(entries.size()) + " entries",
                "one per depth, " + std::to_string(depths));
  }
  return entries;
}

std::vector<GainKind> ReadGains(JsonObject& object, const nlohmann::json& list, int depths) {
  std::vector<GainKind> gains;
  for (const nlohmann::json& name : list) {
    if (!name.is_string()) object.Fail("gain", name.dump(), "none, scalar or vector");
    gains.push_back(GainKindFromName(name.get<std::string>()));
  }
  if (gains.size() != static_cast<size_t>(depths)) {
    object.Fail("gain", std::to_string(gains.size()) + " entries",
                "one per depth, " + std::to_string(depths));
  }
  return gains;
}

std::vector<TensorTypeRule> ReadTypes(JsonObject& object) {
  std::vector<TensorTypeRule> rules;
  const nlohmann::json* list = object.Find("types");
  if (list == nullptr) return rules;
  const char* expected = "a list of [\"pattern\", \"type\"]";
  if (!list->is_array()) object.Fail("types", list->dump(), expected);
  for (const nlohmann::json& rule : *list) {
    const bool pair =
        rule.is_array() && rule.size() == 2 && rule[0].is_string() && rule[1].is_string();
    if (!pair) object.Fail("types", rule.dump(), expected);
    rules.push_back({rule[0].get<std::string>(), DTypeFromName(rule[1].get<std::string>())});
  }
  return rules;
}

ModulePlan ParseModule(JsonObject object, int depths) {
  ModulePlan module;
  const nlohmann::json* blocks = object.Find("blocks");
  if (blocks == nullptr) object.Fail("blocks", "missing", "an array of block ids or \"absorbed\"");
  if (*blocks == "absorbed") {
    module.blocks.assign(static_cast<size_t>(depths), kAbsorbed);
  } else {
    module.blocks = PerDepth(object, "blocks", depths);
  }
  module.own_bias = object.Bool("own_bias", false);
  module.residual = ResidualKindFromName(object.String("residual", "none"));
  if (const nlohmann::json* rank = object.Find("rank")) {
    if (rank->is_array()) {
      module.ranks = PerDepth(object, "rank", depths);
    } else {
      module.ranks.assign(static_cast<size_t>(depths), object.Int("rank"));
    }
  }
  if (object.Contains("factors")) {
    module.factors = object.Ints("factors");
    if (module.factors.size() != static_cast<size_t>(module.BlockCount())) {
      object.Fail("factors", std::to_string(module.factors.size()) + " entries",
                  "one per block, " + std::to_string(module.BlockCount()));
    }
  }
  if (const nlohmann::json* gain = object.Find("gain")) {
    module.gains = gain->is_array()
                       ? ReadGains(object, *gain, depths)
                       : std::vector<GainKind>(static_cast<size_t>(depths),
                                               GainKindFromName(object.String("gain")));
  }
  object.RefuseUnknownKeys();
  return module;
}

int ReadCount(JsonObject& object, const char* key, std::optional<int> fallback) {
  constexpr int kMax = 4096;
  const int count = object.Int(key, fallback);
  if (count < 1 || count > kMax) object.Fail(key, std::to_string(count), "1 to 4096");
  return count;
}

// The order's name is printed on terminals.
std::string ReadOrder(JsonObject& object) {
  constexpr size_t kMaxOrder = 128;  // room for an order a module group
  const std::string order = object.String("order", "custom");
  const bool plain =
      order.size() <= kMaxOrder &&
      std::all_of(order.begin(), order.end(), [](char c) { return c >= ' ' && c <= '~'; });
  if (!plain) object.Fail("order", "not a name", "at most 128 printable ASCII characters");
  return order;
}

void AddFormat2(const ModulePlan& module, Json* json) {
  if (!module.factors.empty()) (*json)["factors"] = module.factors;
  if (module.gains.empty()) return;
  Json names = Json::array();
  for (const GainKind gain : module.gains) names.push_back(Name(gain));
  const bool uniform =
      std::ranges::adjacent_find(module.gains, std::not_equal_to<>()) == module.gains.end();
  (*json)["gain"] = uniform ? names[0] : names;
}

void AddFormat2(const SharingPlan& plan, Json* json) {
  if (!plan.gone.empty()) (*json)["gone"] = plan.gone;
  if (!plan.ffn_widths.empty()) (*json)["ffn_widths"] = plan.ffn_widths;
  if (!plan.patches.empty()) (*json)["patches"] = plan.patches;
  if (plan.embedding_rank != 0) (*json)["embedding_rank"] = plan.embedding_rank;
  Json rules = Json::array();
  for (const TensorTypeRule& rule : plan.types) {
    rules.push_back({rule.pattern, Info(rule.type).name});
  }
  if (!rules.empty()) (*json)["types"] = std::move(rules);
}

bool NeedsFormat2(const SharingPlan& plan) {
  return !plan.gone.empty() || !plan.ffn_widths.empty() || !plan.patches.empty() ||
         plan.embedding_rank != 0 || !plan.types.empty() ||
         std::ranges::any_of(plan.modules, [](const ModulePlan& module) {
           return !module.factors.empty() || !module.gains.empty();
         });
}

Json ModuleToJson(const ModulePlan& module) {
  Json json;
  if (module.blocks[0] == kAbsorbed) {
    json["blocks"] = "absorbed";
  } else {
    json["blocks"] = module.blocks;
  }
  if (module.own_bias) json["own_bias"] = true;
  AddFormat2(module, &json);
  if (module.residual == ResidualKind::kNone) return json;
  json["residual"] = Name(module.residual);
  if (module.ranks.empty()) return json;
  const bool uniform = std::adjacent_find(module.ranks.begin(), module.ranks.end(),
                                          std::not_equal_to<>()) == module.ranks.end();
  if (uniform) {
    json["rank"] = module.ranks[0];
  } else {
    json["rank"] = module.ranks;
  }
  return json;
}

}  // namespace

std::string PlanToJson(const SharingPlan& plan) {
  Json json;
  json["format"] = NeedsFormat2(plan) ? SharingPlan::kFormat : 1;
  json["order"] = plan.order;
  json["loops"] = plan.loops;
  json["depths"] = plan.depths;
  if (plan.exit_gate) json["exit_gate"] = true;
  if (plan.prefix != 0) json["prefix"] = plan.prefix;
  AddFormat2(plan, &json);
  Json modules = Json::object();
  for (const Module m : kAllModules) {
    if (!plan[m].blocks.empty()) modules[std::string(Name(m))] = ModuleToJson(plan[m]);
  }
  json["modules"] = std::move(modules);
  return json.dump();
}

SharingPlan PlanFromJson(std::string_view text, const std::string& file) {
  const nlohmann::json json = ParseJsonChecked(text, file);
  JsonObject object(json, "PlanFromJson", file);
  const int format = object.Int("format");
  if (format < 1 || format > SharingPlan::kFormat) {
    object.Fail("format", "version " + std::to_string(format), "version 1 or 2");
  }
  SharingPlan plan;
  plan.order = ReadOrder(object);
  plan.loops = ReadCount(object, "loops", 1);
  plan.depths = ReadCount(object, "depths", std::nullopt);
  plan.exit_gate = object.Bool("exit_gate", false);
  plan.prefix = object.Int("prefix", 0);
  if (object.Contains("gone")) plan.gone = object.Ints("gone");
  if (object.Contains("ffn_widths")) {
    plan.ffn_widths = PerDepth(object, "ffn_widths", plan.depths);
  }
  if (object.Contains("patches")) plan.patches = object.Ints("patches");
  plan.embedding_rank = object.Int("embedding_rank", 0);
  plan.types = ReadTypes(object);
  JsonObject modules = object.Object("modules");
  for (const std::string& name : modules.Keys()) {
    const auto parse = [&] {
      const Module m = ModuleFromName(name);
      plan[m] = ParseModule(modules.Object(name), plan.depths);
    };
    WithFile(file, parse, "modules." + name);
  }
  object.RefuseUnknownKeys();
  return plan;
}

}  // namespace rondo
