#include <cstdio>
#include <string>
#include <utility>

#include "base/machine.h"
#include "base/progress.h"
#include "base/stopwatch.h"
#include "base/strings.h"
#include "cli/fold_report.h"
#include "cli/fold_suggest.h"
#include "cli/output.h"
#include "cli/outputs.h"
#include "cli/plan_flags.h"
#include "cli/session.h"
#include "report/plan_picture.h"
#include "rondo/calibrate.h"
#include "rondo/fold.h"

namespace rondo::cli {
namespace {

Model FoldAsAsked(const Model& model, const SharingPlan& plan, const FoldOptions& fold,
                  const FoldCommandOptions& options, ThreadPool& pool, bool quiet) {
  if (options.calibrate.empty()) return Fold(model, plan, fold, pool, quiet);
  const auto tokens = CalibrationTokens(model, options);
  return FoldCalibrated(model, plan, fold, tokens, ToCalibrateOptions(options, model.config), pool,
                        quiet);
}

}  // namespace

int RunFold(const FoldCommandOptions& options, const CommonOptions& common) {
  AnyModel any = LoadAnyModel(options.model);
  if (auto* speech = std::get_if<SpeechModel>(&any)) {
    return FoldSpeech(std::move(*speech), options, common);
  }
  const Stopwatch watch;
  ThreadPool pool(common.threads);
  const Model model = Adapted(std::get<Model>(std::move(any)), common, pool);
  const FoldOptions fold = ParseFoldOptions(options.plan, model.config);
  if (options.suggest) return RunSuggest(model, fold, options, common, pool);

  const SharingPlan plan = PlanFromFlags(options.plan, fold, model.config);
  const OutputRules rules = {.inputs = {options.model, options.calibrate, options.plan.plan_file},
                             .force = options.force};
  PrepareDirectory(options.out, rules, BytesToWrite(model.config, plan, options.store));
  const Model folded = FoldAsAsked(model, plan, fold, options, pool, common.quiet);
  {
    Progress progress("write", 1, common.quiet);
    SaveModel(folded, options.out, options.store, {.force = options.force});
    progress.Add();
  }

  const ParameterCount count = CountParameters(folded.config, folded.plan);
  Output out;
  out.Add("written", options.out);
  out.Add("order", folded.plan.order);
  out.Add("loops", folded.plan.loops);
  out.Add("depths", folded.plan.depths);
  out.Add("parameters_non_embedding", count.NonEmbedding());
  out.Add("parameters_shared", count.shared);
  out.Add("parameters_residual", count.residual);
  out.Add("parameters_logical", count.logical);
  AddFoldBytes(folded, options, &out);
  out.Add("calibrated", !options.calibrate.empty());
  out.Add("seconds", watch.Seconds());
  out.Add("peak_memory_bytes", PeakMemoryBytes());
  out.Print(common.json);
  return 0;
}

}  // namespace rondo::cli
