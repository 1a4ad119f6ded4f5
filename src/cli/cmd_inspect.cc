#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <utility>

#include "base/file.h"
#include "base/strings.h"
#include "cli/output.h"
#include "cli/plan_flags.h"
#include "hub/stored.h"
#include "report/plan_picture.h"
#include "rondo/any_model.h"

namespace rondo::cli {
namespace {

namespace fs = std::filesystem;

// A directory or file that holds a configuration and no weights is inspected by that alone.
LoadParts PartsAt(const std::string& path) {
  if (!IsDirectory(path)) {
    return path.ends_with(".json") ? LoadParts::kConfig : LoadParts::kAll;
  }
  for (const auto& entry : fs::directory_iterator(path)) {
    if (entry.path().extension() == ".safetensors") return LoadParts::kAll;
  }
  return LoadParts::kConfig;
}

uint64_t BytesAtF32(const ModelConfig& config, const SharingPlan& plan) {
  return static_cast<uint64_t>(CountParameters(config, plan).Total()) * sizeof(float);
}

// Norms kept per depth would make every tied model look untied; the linears say what is shared.
int UniqueBlocks(const SharingPlan& plan) {
  int unique = 0;
  for (const Module m : kAllModules) {
    if (IsLinear(m)) unique = std::max(unique, plan[m].BlockCount());
  }
  return unique;
}

void AddShape(const ModelConfig& config, Output* out) {
  out->Add("family", config.family);
  out->Add("d_model", config.d_model);
  out->Add("d_ff", config.d_ff);
  out->Add("heads", config.heads);
  out->Add("kv_heads", config.kv_heads);
  out->Add("head_dim", config.head_dim);
  out->Add("vocab", config.vocab);
  out->Add("max_positions", config.max_positions);
}

// What is on disk: bytes of the weight files, and how many tensors and bytes each type has.
void AddStored(const std::string& path, const Weights& weights, Output* out) {
  out->Add("file_bytes", static_cast<int64_t>(StoredBytes(path)));
  std::string json, text;
  for (const StoredType& type : StoredTypes(path, weights)) {
    const std::string bytes = std::to_string(type.bytes), count = std::to_string(type.tensors);
    json += (json.empty() ? "" : ", ") + std::string("\"") + type.name +
            "\": {\"tensors\": " + count + ", \"bytes\": " + bytes + "}";
    text += (text.empty() ? "" : "; ") + type.name + ": " + count + " tensors, " +
            HumanBytes(type.bytes);
  }
  out->AddJson("types", "{" + json + "}", text);
}

}  // namespace

int RunInspect(const InspectOptions& options, const CommonOptions& common) {
  AnyModel any = LoadAnyModel(options.model, PartsAt(options.model));
  if (auto* speech = std::get_if<SpeechModel>(&any)) {
    return InspectSpeech(std::move(*speech), options, common);
  }
  Model model = std::get<Model>(std::move(any));
  const bool stored = !options.what_if && model.weights.size() > 0;
  if (options.what_if) {
    model.plan =
        PlanFromFlags(options.plan, ParseFoldOptions(options.plan, model.config), model.config);
  }
  const ParameterCount count = CountParameters(model.config, model.plan);
  const int64_t bytes =
      static_cast<int64_t>(stored ? model.weights.bytes() : BytesAtF32(model.config, model.plan));
  Output out;
  AddShape(model.config, &out);
  // The picture shows these in the text form.
  const std::pair<const char*, int64_t> counts[] = {
      {"depths", model.plan.depths},
      {"unique_blocks", UniqueBlocks(model.plan)},
      {"loops", model.plan.loops},
      {"parameters_total", count.Total()},
      {"parameters_embedding", count.embedding},
      {"parameters_non_embedding", count.NonEmbedding()},
      {"parameters_shared", count.shared},
      {"parameters_residual", count.residual},
      {"parameters_logical", count.logical}};
  for (const auto& [name, value] : counts) {
    out.Add(name, value);
    out.HideLast();
  }
  out.Add("order", model.plan.order);
  out.HideLast();
  out.Add("bytes", bytes);
  if (!stored) out.HideLast();
  if (stored) AddStored(options.model, model.weights, &out);
  out.AddJson("plan", PlanToJson(model.plan));
  if (!common.json) {
    std::fputs((DrawPlan(model.config, model.plan, WantsColor()) + "\n").c_str(), stdout);
  }
  out.Print(common.json);
  return 0;
}

}  // namespace rondo::cli
