#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/strings.h"
#include "rondo/error.h"
#include "rondo/sharing_plan.h"

namespace rondo {
namespace {

using Json = nlohmann::ordered_json;

// Reads one JSON object: typed getters that name the field, and a final check for unknown keys.
class ObjectReader {
 public:
  ObjectReader(const Json& object, std::string field, const std::string& file)
      : object_(object), field_(std::move(field)), file_(file) {
    if (!object.is_object()) Fail("", std::string(object.type_name()), "an object");
  }

  [[noreturn]] void Fail(const std::string& key, std::string problem, std::string expected) const {
    throw Error({.function = "PlanFromJson",
                 .problem = std::move(problem),
                 .expected = std::move(expected),
                 .file = file_,
                 .field = key.empty() ? field_ : field_ + "." + key});
  }

  const Json* Find(const std::string& key) {
    known_.push_back(key);
    const auto found = object_.find(key);
    return found == object_.end() ? nullptr : &*found;
  }

  int Int(const std::string& key, int fallback, bool required = false) {
    const Json* value = Find(key);
    if (value == nullptr && !required) return fallback;
    if (value == nullptr) Fail(key, "missing", "an integer");
    return ToInt(key, *value);
  }

  std::string String(const std::string& key, const std::string& fallback) {
    const Json* value = Find(key);
    if (value == nullptr) return fallback;
    if (!value->is_string()) Fail(key, value->dump(), "a string");
    return value->get<std::string>();
  }

  bool Bool(const std::string& key) {
    const Json* value = Find(key);
    if (value == nullptr) return false;
    if (!value->is_boolean()) Fail(key, value->dump(), "true or false");
    return value->get<bool>();
  }

  std::vector<int> Ints(const std::string& key, const Json& value) const {
    if (!value.is_array()) Fail(key, value.dump(), "an array of integers");
    std::vector<int> out;
    for (const Json& entry : value) out.push_back(ToInt(key, entry));
    return out;
  }

  void RefuseUnknownKeys() const {
    for (const auto& [key, value] : object_.items()) {
      if (std::find(known_.begin(), known_.end(), key) == known_.end()) {
        Fail(key, "unknown key", UnknownNameHint(key, known_));
      }
    }
  }

  int ToInt(const std::string& key, const Json& value) const {
    constexpr int64_t kLimit = 1 << 24;
    if (!value.is_number_integer()) Fail(key, value.dump(), "an integer");
    const bool huge = value.is_number_unsigned() && value.get<uint64_t>() > kLimit;
    if (huge || value.get<int64_t>() < -kLimit || value.get<int64_t>() > kLimit) {
      Fail(key, value.dump(), "an integer of reasonable size");
    }
    return value.get<int>();
  }

 private:
  const Json& object_;
  std::string field_;
  const std::string& file_;
  std::vector<std::string> known_;
};

ModulePlan ParseModule(const Json& json, const std::string& name, int depths,
                       const std::string& file) {
  ObjectReader reader(json, "modules." + name, file);
  ModulePlan module;
  const Json* blocks = reader.Find("blocks");
  if (blocks == nullptr) reader.Fail("blocks", "missing", "an array of block ids or \"absorbed\"");
  if (*blocks == "absorbed") {
    module.blocks.assign(static_cast<size_t>(depths), kAbsorbed);
  } else {
    module.blocks = reader.Ints("blocks", *blocks);
  }
  module.own_bias = reader.Bool("own_bias");
  module.residual = ResidualKindFromName(reader.String("residual", "none"));
  if (const Json* rank = reader.Find("rank")) {
    if (rank->is_array()) {
      module.ranks = reader.Ints("rank", *rank);
    } else {
      module.ranks.assign(static_cast<size_t>(depths), reader.ToInt("rank", *rank));
    }
  }
  reader.RefuseUnknownKeys();
  return module;
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
  const bool uniform =
      std::adjacent_find(module.ranks.begin(), module.ranks.end(), std::not_equal_to<>()) ==
      module.ranks.end();
  if (uniform) {
    json["rank"] = module.ranks[0];
  } else {
    json["rank"] = module.ranks;
  }
  return json;
}

Json ParseJson(std::string_view text, const std::string& file) {
  try {
    return Json::parse(text);
  } catch (const nlohmann::json::exception& error) {
    throw Error({.function = "PlanFromJson",
                 .problem = error.what(),
                 .expected = "a JSON object",
                 .file = file,
                 .field = {}});
  }
}

}  // namespace

std::string PlanToJson(const SharingPlan& plan) {
  Json json;
  json["format"] = SharingPlan::kFormat;
  json["order"] = plan.order;
  json["loops"] = plan.loops;
  json["depths"] = plan.depths;
  Json modules = Json::object();
  for (const Module m : kAllModules) {
    if (!plan[m].blocks.empty()) modules[std::string(Name(m))] = ModuleToJson(plan[m]);
  }
  json["modules"] = std::move(modules);
  return json.dump();
}

SharingPlan PlanFromJson(std::string_view text, const std::string& file) {
  const Json json = ParseJson(text, file);
  ObjectReader reader(json, "rondo", file);
  const int format = reader.Int("format", 0, true);
  if (format != SharingPlan::kFormat) {
    reader.Fail("format", "version " + std::to_string(format), "version 1");
  }
  SharingPlan plan;
  plan.order = reader.String("order", "custom");
  plan.loops = reader.Int("loops", 1);
  plan.depths = reader.Int("depths", 0, true);
  constexpr int kMaxDepths = 4096;
  if (plan.depths < 1 || plan.depths > kMaxDepths) {
    reader.Fail("depths", std::to_string(plan.depths), "1 to 4096");
  }
  const Json* modules = reader.Find("modules");
  if (modules == nullptr || !modules->is_object()) {
    reader.Fail("modules", "missing or no object", "an object of modules");
  }
  for (const auto& [name, value] : modules->items()) {
    plan[ModuleFromName(name)] = ParseModule(value, name, plan.depths, file);
  }
  reader.RefuseUnknownKeys();
  return plan;
}

}  // namespace rondo
