#include <algorithm>
#include <cstdio>
#include <string>

#include "base/machine.h"
#include "base/stopwatch.h"
#include "base/strings.h"
#include "base/warn.h"
#include "cli/fold_suggest.h"
#include "cli/output.h"
#include "cli/plan_flags.h"
#include "cli/session.h"
#include "hub/stored.h"
#include "report/plan_picture.h"
#include "rondo/calibrate.h"
#include "rondo/fold.h"
#include "rondo/speech_model.h"

namespace rondo::cli {
namespace {

Model FoldAsAsked(const Model& model, const SharingPlan& plan, const FoldOptions& fold,
                  const FoldCommandOptions& options, ThreadPool& pool, bool quiet) {
  if (options.calibrate.empty()) return Fold(model, plan, fold, pool, quiet);
  const auto tokens = CalibrationTokens(model, options);
  return FoldCalibrated(model, plan, fold, tokens, ToCalibrateOptions(options), pool, quiet);
}

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

void WarnAboutResult(const Model& folded, const ParameterCount& count, uint64_t bytes,
                     uint64_t input, bool calibrated) {
  if (bytes > input) {
    Warn("the result is larger than its source: " + HumanBytes(bytes) + " against " +
         HumanBytes(input) + "; try --store bf16, a lower --rank, or `rondo quantize`");
  }
  if (count.NonEmbedding() > count.logical) {
    Warn("the residuals take more parameters than sharing saves: " +
         WithThousands(count.NonEmbedding()) + " against " + WithThousands(count.logical) +
         "; lower --rank");
  }
  if (!calibrated && !IsExact(folded)) {
    Warn(
        "folded without calibration: the model must be trained before it is of use (rondo train), "
        "or folded again with --calibrate TEXT");
  }
}

}  // namespace

int RunFold(const FoldCommandOptions& options, const CommonOptions& common) {
  if (IsSpeechModel(options.model)) {
    RefuseAdapters(common);
    return RunFoldSpeech(options, common);
  }
  const Stopwatch watch;
  ThreadPool pool(common.threads);
  const DType store = ParseStoredType("--store", options.store);
  const Model model = LoadAdapted(options.model, common, pool);
  const FoldOptions fold = ParseFoldOptions(options.plan, model.config);
  if (options.suggest) return RunSuggest(model, fold, options, common, pool);

  const SharingPlan plan = PlanFromFlags(options.plan, fold, model.config);
  const Model folded = FoldAsAsked(model, plan, fold, options, pool, common.quiet);
  SaveModel(folded, options.out, store);

  const ParameterCount count = CountParameters(folded.config, folded.plan);
  const uint64_t bytes = StoredBytes(options.out), input = StoredBytes(options.model);
  WarnAboutResult(folded, count, bytes, input, !options.calibrate.empty());
  Output out;
  out.Add("written", options.out);
  out.Add("order", folded.plan.order);
  out.Add("loops", folded.plan.loops);
  out.Add("depths", folded.plan.depths);
  out.Add("parameters_non_embedding", count.NonEmbedding());
  out.Add("parameters_shared", count.shared);
  out.Add("parameters_residual", count.residual);
  out.Add("parameters_logical", count.logical);
  out.Add("bytes", static_cast<int64_t>(bytes));
  out.Add("bytes_input", static_cast<int64_t>(input));
  out.Add("calibrated", !options.calibrate.empty());
  out.Add("seconds", watch.Seconds());
  out.Add("peak_memory_bytes", PeakMemoryBytes());
  out.Print(common.json);
  return 0;
}

}  // namespace rondo::cli
