#include "hub/native_config.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "base/json.h"
#include "base/with_file.h"
#include "hub/hf_config.h"
#include "rondo/error.h"

namespace rondo {
namespace {

// transformers builds a randomly initialised model from any model_type it knows, whatever the
// tensors are called; one that it does not know makes it refuse. The family stands in kFamilyKey
// instead.
constexpr const char* kModelType = "rondo";
constexpr const char* kPlanKey = "rondo";
constexpr const char* kFamilyKey = "base_model_type";

const char* TorchName(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return "float32";
    case DType::kF16:
      return "float16";
    case DType::kBF16:
      return "bfloat16";
    default:
      throw Error({.function = "HfConfigText",
                   .problem = "cannot store " + std::string(Info(dtype).name),
                   .expected = "f32, f16 or bf16"});
  }
}

// Objects down to `levels` spread over lines, everything below on one: a tie map is easier to read
// as a row.
std::string Pretty(const nlohmann::ordered_json& json, int levels, const std::string& indent) {
  if (levels == 0 || !json.is_object() || json.empty()) return json.dump();
  const std::string inner = indent + "  ";
  std::string out = "{";
  for (const auto& [key, value] : json.items()) {
    if (out.size() > 1) out += ",";
    out +=
        "\n" + inner + nlohmann::ordered_json(key).dump() + ": " + Pretty(value, levels - 1, inner);
  }
  return out + "\n" + indent + "}";
}

// Speech models have configurations of their own: with a "speech" section, or Whisper's as Hugging
// Face or CTranslate2 write them.
void RefuseSpeech(const nlohmann::json& json, const JsonObject& object) {
  const auto type = json.find("model_type");
  const bool whisper = type != json.end() && *type == "whisper";
  for (const auto& [key, found] : {std::pair{"speech", object.Contains("speech")},
                                   {"model_type", whisper},
                                   {"suppress_ids_begin", object.Contains("suppress_ids_begin")}}) {
    if (!found) continue;
    object.Fail(key, "a speech model",
                "a language model; inspect, fold, quantize, eval --speech and transcribe take "
                "speech models");
  }
}

}  // namespace

ConfigFile ParseConfigFile(std::string_view text, const std::string& file) {
  nlohmann::json json = ParseJsonChecked(text, file);
  JsonObject object(json, "ParseConfigFile", file);
  ConfigFile result;
  RefuseSpeech(json, object);
  if (!object.Contains(kPlanKey)) {
    if (object.String("model_type") == kModelType) object.Fail(kPlanKey, "missing", "the plan");
    result.config = HfConfigFromJson(json, file);
    result.plan = IdentityPlan(result.config);
    return result;
  }
  result.native = true;
  if (object.String("model_type") != kModelType) {
    object.Fail("model_type", "'" + object.String("model_type") + "'", "'rondo' beside a plan");
  }
  const std::string family = object.String(kFamilyKey);
  result.plan = PlanFromJson(json[kPlanKey].dump(), file);
  json.erase(kPlanKey);
  json.erase(kFamilyKey);
  json["model_type"] = family;
  result.config = HfConfigFromJson(json, file);
  WithFile(file, [&] { result.plan.Validate(result.config); });
  return result;
}

std::string HfConfigText(const ModelConfig& config, DType store) {
  nlohmann::ordered_json json = HfConfigToJson(config);
  json["torch_dtype"] = TorchName(store);
  return json.dump(2) + "\n";
}

std::string NativeConfigText(const ModelConfig& config, const SharingPlan& plan, DType store) {
  nlohmann::ordered_json json = HfConfigToJson(config);
  json["architectures"] = {"RondoForCausalLM"};
  json["model_type"] = kModelType;
  json[kFamilyKey] = config.family;
  json["torch_dtype"] = TorchName(store);
  json[kPlanKey] = nlohmann::ordered_json::parse(PlanToJson(plan));
  constexpr int kLevels = 3;  // the file, the plan, its modules
  return Pretty(json, kLevels, "") + "\n";
}

}  // namespace rondo
