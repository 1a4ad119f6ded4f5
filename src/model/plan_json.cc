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

Json ModuleToJson(const ModulePlan& module) {
  Json json;
  if (module.blocks[0] == kAbsorbed) {
    json["blocks"] = "absorbed";
  } else {
    json["blocks"] = module.blocks;
  }
  if (module.own_bias) json["own_bias"] = true;
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
  json["format"] = SharingPlan::kFormat;
  json["order"] = plan.order;
  json["loops"] = plan.loops;
  json["depths"] = plan.depths;
  if (plan.exit_gate) json["exit_gate"] = true;
  if (plan.prefix != 0) json["prefix"] = plan.prefix;
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
  if (format != SharingPlan::kFormat) {
    object.Fail("format", "version " + std::to_string(format), "version 1");
  }
  SharingPlan plan;
  plan.order = ReadOrder(object);
  plan.loops = ReadCount(object, "loops", 1);
  plan.depths = ReadCount(object, "depths", std::nullopt);
  plan.exit_gate = object.Bool("exit_gate", false);
  plan.prefix = object.Int("prefix", 0);
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
