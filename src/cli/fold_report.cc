#include "cli/fold_report.h"

#include <algorithm>
#include <string>

#include "base/strings.h"
#include "base/warn.h"
#include "hub/stored.h"

namespace rondo::cli {
namespace {

// Whether residuals of full rank give every layer its own matrices back.
bool IsExact(const Model& folded) {
  for (const Module m : kAllModules) {
    if (!folded.config.HasModule(m) || !IsLinear(m)) continue;
    const ModulePlan& module = folded.plan[m];
    const Shape shape = folded.config.ModuleShape(m);
    const bool full = std::ranges::all_of(
        module.ranks, [&](int rank) { return rank >= std::min(shape[0], shape[1]); });
    const bool lora = module.residual != ResidualKind::kNone && !module.ranks.empty();
    const bool shares = module.BlockCount() < folded.plan.depths;
    if (shares && !(lora && full)) return false;
  }
  return true;
}

}  // namespace

void AddFoldBytes(const Model& folded, const FoldCommandOptions& options, Output* out) {
  const uint64_t bytes = StoredBytes(options.out), input = StoredBytes(options.model);
  out->Add("bytes", static_cast<int64_t>(bytes));
  out->Add("bytes_input", static_cast<int64_t>(input));
  if (bytes > input) {
    Warn("the result is larger than its source: " + HumanBytes(bytes) + " against " +
         HumanBytes(input) + "; try --store bf16, a lower --rank, or `rondo quantize`");
  }
  const ParameterCount count = CountParameters(folded.config, folded.plan);
  if (count.NonEmbedding() > count.logical) {
    Warn("the residuals take more parameters than sharing saves: " +
         WithThousands(count.NonEmbedding()) + " against " + WithThousands(count.logical) +
         "; lower --rank");
  }
  if (options.calibrate.empty() && !IsExact(folded)) {
    Warn(
        "folded without calibration: the model must be trained before it is of use (rondo train), "
        "or folded again with --calibrate");
  }
}

}  // namespace rondo::cli
