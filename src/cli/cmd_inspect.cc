#include <algorithm>
#include <cstdio>
#include <filesystem>

#include "base/strings.h"
#include "cli/output.h"
#include "cli/plan_flags.h"
#include "report/plan_picture.h"
#include "rondo/model.h"

namespace rondo::cli {
namespace {

namespace fs = std::filesystem;

// A directory or file that holds a configuration and no weights is inspected by that alone.
LoadParts PartsAt(const std::string& path) {
  if (!fs::is_directory(path)) {
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

}  // namespace

int RunInspect(const InspectOptions& options, const CommonOptions& common) {
  Model model = LoadModel(options.model, PartsAt(options.model));
  const bool stored = !options.what_if && model.weights.size() > 0;
  if (options.what_if) {
    model.plan = PlanFromFlags(options.plan, ParseFoldOptions(options.plan), model.config);
  }
  const ParameterCount count = CountParameters(model.config, model.plan);
  const int unique = UniqueBlocks(model.plan);
  Output out;
  out.Add("family", model.config.family);
  out.Add("depths", model.plan.depths);
  out.Add("unique_blocks", unique);
  out.Add("order", model.plan.order);
  out.Add("loops", model.plan.loops);
  out.Add("d_model", model.config.d_model);
  out.Add("d_ff", model.config.d_ff);
  out.Add("heads", model.config.heads);
  out.Add("kv_heads", model.config.kv_heads);
  out.Add("head_dim", model.config.head_dim);
  out.Add("vocab", model.config.vocab);
  out.Add("max_positions", model.config.max_positions);
  out.Add("parameters_total", count.Total());
  out.Add("parameters_embedding", count.embedding);
  out.Add("parameters_non_embedding", count.NonEmbedding());
  out.Add("parameters_shared", count.shared);
  out.Add("parameters_residual", count.residual);
  out.Add("parameters_logical", count.logical);
  out.Add("bytes", static_cast<int64_t>(stored ? model.weights.bytes()
                                               : BytesAtF32(model.config, model.plan)));
  out.AddJson("plan", PlanToJson(model.plan));
  if (!common.json) std::fputs((DrawPlan(model.config, model.plan) + "\n").c_str(), stdout);
  out.Print(common.json);
  return 0;
}

}  // namespace rondo::cli
