// Adapters in the directories that PEFT writes.
#include <cmath>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <regex>
#include <utility>

#include "base/file.h"
#include "base/json.h"
#include "formats/file_kind.h"
#include "formats/safetensors.h"
#include "hub/adapter.h"
#include "hub/hf_layout.h"
#include "hub/hf_tensors.h"
#include "rondo/error.h"

namespace rondo {
namespace {

namespace fs = std::filesystem;

// Keys that say how an adapter was trained, not what it computes.
constexpr std::string_view kIgnored[] = {"auto_mapping",
                                         "base_model_name_or_path",
                                         "bias",
                                         "corda_config",
                                         "ensure_weight_tying",
                                         "eva_config",
                                         "exclude_modules",
                                         "fan_in_fan_out",
                                         "inference_mode",
                                         "init_lora_weights",
                                         "layers_pattern",
                                         "layers_to_transform",
                                         "loftq_config",
                                         "lora_dropout",
                                         "lora_ga_config",
                                         "megatron_config",
                                         "megatron_core",
                                         "modules_to_save",
                                         "peft_version",
                                         "qalora_group_size",
                                         "r",
                                         "rank_pattern",
                                         "revision",
                                         "target_modules",
                                         "task_type"};
// Those of kinds of LoRA that change more than W + B · A.
constexpr std::string_view kUnsupported[] = {"use_qalora",        "alora_invocation_tokens",
                                             "layer_replication", "target_parameters",
                                             "kasa_config",       "velora_config",
                                             "monteclora_config", "trainable_token_indices",
                                             "use_bdlora",        "arrow_config",
                                             "lora_bias"};
// Ways to begin that change the base model as well.
constexpr std::string_view kChangedBase[] = {"pissa", "olora", "corda", "loftq", "lora_ga"};

bool IsOff(const nlohmann::json& value) {
  return value.is_null() || value == false || (value.is_structured() && value.empty());
}

struct PeftConfig {
  double alpha = 0;
  bool root_scale = false;                             // rsLoRA: alpha / sqrt(rank)
  std::vector<std::pair<std::string, double>> alphas;  // patterns of modules with their own alpha

  // PEFT looks for the first pattern that matches the end of the module's name.
  float Scale(const std::string& module, int64_t rank) const {
    double chosen = alpha;
    for (const auto& [pattern, value] : alphas) {
      if (!std::regex_match(module, std::regex("(.*\\.)?(" + pattern + ")"))) continue;
      chosen = value;
      break;
    }
    const auto width = static_cast<double>(rank);
    return static_cast<float>(chosen / (root_scale ? std::sqrt(width) : width));
  }
};

PeftConfig ReadConfig(const std::string& file) {
  const nlohmann::json json = ParseJsonChecked(ReadTextFile(file, 1 << 20), file);
  JsonObject object(json, "MergeAdapter", file);
  const std::string type = object.String("peft_type");
  if (type != "LORA") object.Fail("peft_type", "'" + type + "'", "LORA");
  for (const std::string_view key : kUnsupported) {
    const nlohmann::json* value = object.Find(key);
    if (value != nullptr && !IsOff(*value)) {
      object.Fail(key, JsonExcerpt(*value), "no such kind of LoRA: it cannot be merged here");
    }
  }
  if (const nlohmann::json* start = object.Find("init_lora_weights");
      start != nullptr && start->is_string()) {
    const std::string name = start->get<std::string>();
    for (const std::string_view changed : kChangedBase) {
      if (!name.starts_with(changed)) continue;
      object.Fail("init_lora_weights", "'" + name + "', which changed the base model as well",
                  "an adapter that PEFT converted to plain LoRA when it was saved");
    }
  }
  PeftConfig config{.alpha = object.Number("lora_alpha", 8)};
  config.root_scale = object.Bool("use_rslora", false);
  object.Bool("use_dora", false);  // its tensors say so
  if (object.Find("alpha_pattern") != nullptr) {
    JsonObject patterns = object.Object("alpha_pattern");
    for (const std::string& pattern : patterns.Keys()) {
      try {
        std::regex check(pattern);
      } catch (const std::regex_error&) {
        patterns.Fail(pattern, "not a regular expression", "the end of a module's name");
      }
      config.alphas.emplace_back(pattern, patterns.Number(pattern));
    }
  }
  object.Ignore(kIgnored);
  for (const std::string& key : object.Keys()) {
    if (IsOff(json.at(key))) object.Find(key);
  }
  object.RefuseUnknownKeys();
  return config;
}

// The tensors of one module.
struct ModuleTensors {
  Tensor a, b, magnitude;
  bool is_embedding = false;
};

class Reader {
 public:
  Reader(const ModelConfig& config, PeftConfig peft, std::string file)
      : config_(config), peft_(std::move(peft)), file_(std::move(file)) {}

  Adapter Read() {
    for (const auto& [name, tensor] : ReadSafetensors(file_)) Sort(name, tensor);
    for (const auto& [module, tensors] : modules_) AddModule(module, tensors);
    if (adapter_.factors.empty() && adapter_.whole.size() == 0)
      Fail("", "no tensors", "an adapter");
    return std::move(adapter_);
  }

 private:
  [[noreturn]] void Fail(const std::string& tensor, std::string problem,
                         std::string expected) const {
    throw Error({.function = "MergeAdapter",
                 .problem = std::move(problem),
                 .expected = std::move(expected),
                 .file = file_,
                 .field = tensor});
  }

  // "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
  void Sort(const std::string& full_name, const Tensor& tensor) {
    constexpr std::string_view kRoot = "base_model.model.";
    std::string name = full_name;
    if (name.starts_with(kRoot)) name.erase(0, kRoot.size());
    struct Part {
      std::string_view marker;
      Tensor ModuleTensors::*member;
      bool embedding;
    };
    static constexpr Part kParts[] = {{".lora_A", &ModuleTensors::a, false},
                                      {".lora_B", &ModuleTensors::b, false},
                                      {".lora_embedding_A", &ModuleTensors::a, true},
                                      {".lora_embedding_B", &ModuleTensors::b, true},
                                      {".lora_magnitude_vector", &ModuleTensors::magnitude, false}};
    for (const auto& [marker, member, embedding] : kParts) {
      const size_t at = name.find(marker);
      if (at == std::string::npos) continue;
      const std::string rest = name.substr(at + marker.size());
      if (!rest.empty() && rest != ".weight" && rest != ".default.weight" && rest != ".default") {
        continue;
      }
      ModuleTensors& module = modules_[name.substr(0, at)];
      module.*member = Cast(tensor, DType::kF32);
      module.is_embedding |= embedding;
      return;
    }
    AddWhole(full_name, name, tensor);
  }

  void AddWhole(const std::string& full_name, std::string name, const Tensor& tensor) {
    for (const std::string_view wrapper : {"modules_to_save.default.", "base_layer."}) {
      if (const size_t at = name.find(wrapper); at != std::string::npos) {
        name.erase(at, wrapper.size());
      }
    }
    const auto canonical = HfCanonical(config_, HfBareName(config_, name), tensor);
    if (!canonical) {
      Fail(full_name,
           "tensor " + ToString(tensor.shape()) + " that the base model has no place for",
           "LoRA factors, or whole tensors of the model's shapes");
    }
    for (const auto& [own, value] : *canonical) adapter_.whole.Set(own, value);
  }

  void AddModule(const std::string& module, ModuleTensors tensors) {
    if (tensors.a.empty() || tensors.b.empty()) {
      Fail(module, "one factor without the other", "lora_A and lora_B");
    }
    const float scale = peft_.Scale(module, tensors.a.rows());
    if (tensors.is_embedding) {  // [rank, vocab] and [d_model, rank]
      const Tensor a = Transpose(tensors.b);
      tensors.b = Transpose(tensors.a);
      tensors.a = a;
    }
    const std::string name = HfBareName(config_, module) + ".weight";
    const auto rows = HfCanonicalRows(config_, name, tensors.b);
    if (!rows) {
      Fail(module, "factors " + ToString(tensors.b.shape()) + " for no matrix of the base model",
           "modules of the " + config_.family + " family in the model's size");
    }
    std::optional<Weights> norms;
    if (!tensors.magnitude.empty()) {
      const int64_t count = tensors.magnitude.elements();
      norms = HfCanonicalRows(config_, name, Reshape(tensors.magnitude, {count, 1}));
      if (!norms) Fail(module, std::to_string(count) + " magnitudes", "one for each output");
    }
    for (const auto& [own, b] : *rows) {
      LoraFactors factors{.name = own, .a = tensors.a, .b = b, .scale = scale, .magnitude = {}};
      if (norms) factors.magnitude = norms->Get(own);
      adapter_.factors.push_back(std::move(factors));
    }
  }

  const ModelConfig& config_;
  const PeftConfig peft_;
  const std::string file_;
  std::map<std::string, ModuleTensors> modules_;
  Adapter adapter_;
};

}  // namespace

Adapter ReadPeftAdapter(const std::string& directory, const ModelConfig& config) {
  const fs::path base(directory);
  PeftConfig peft = ReadConfig((base / "adapter_config.json").string());
  const std::string file = (base / "adapter_model.safetensors").string();
  if (!PathExists(file)) {
    const std::string found = ForeignWeightsIn(directory);
    throw Error({.function = "MergeAdapter",
                 .problem = "no adapter_model.safetensors in it" +
                            (found.empty() ? std::string() : ", but " + found),
                 .expected = "an adapter saved with safetensors, as PEFT does by default",
                 .file = directory});
  }
  return Reader(config, std::move(peft), file).Read();
}

}  // namespace rondo
