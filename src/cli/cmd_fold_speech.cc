#include <string>

#include "base/machine.h"
#include "base/stopwatch.h"
#include "cli/fold_report.h"
#include "cli/fold_suggest.h"
#include "cli/output.h"
#include "cli/outputs.h"
#include "cli/plan_flags.h"
#include "cli/session.h"
#include "rondo/audio.h"
#include "rondo/calibrate.h"
#include "rondo/error.h"
#include "rondo/fold.h"
#include "rondo/speech_model.h"
#include "speech/encoder.h"
#include "speech/manifest.h"
#include "speech/windows.h"

namespace rondo::cli {
namespace {

Model FoldEncoder(const SpeechModel& model, const SharingPlan& plan, const FoldOptions& fold,
                  const FoldCommandOptions& options, ThreadPool& pool, bool quiet) {
  if (options.calibrate.empty()) return Fold(model.encoder, plan, fold, pool, quiet);
  const int64_t d = model.encoder.config.d_model;
  SpeechWindows windows(model, ReadManifest(options.calibrate));
  std::vector<float> rows;
  CalibrateOptions calibrate;
  const SpeechEncoder encoder(model, DType::kF32, pool);
  while (std::ssize(rows) / d < options.fit.max_tokens) {
    const Features window = windows.Next();
    if (window.values.empty()) break;
    const std::vector<float> input = encoder.LayerInput(window.values);
    calibrate.context = static_cast<int>(std::ssize(input) / d);
    rows.insert(rows.end(), input.begin(), input.end());
  }
  if (rows.empty()) {
    throw Error({.function = "RunFold",
                 .problem = "less speech than one window",
                 .expected = "30 s for Whisper, 10 s for others",
                 .file = options.calibrate,
                 .field = "--calibrate"});
  }
  return FoldEncoderCalibrated(model.encoder, plan, fold, std::move(rows), calibrate, pool, quiet);
}

}  // namespace

int FoldSpeech(SpeechModel model, const FoldCommandOptions& options, const CommonOptions& common) {
  const Stopwatch watch;
  ThreadPool pool(common.threads);
  const FoldOptions fold = ParseFoldOptions(options.plan, model.encoder.config);
  const SpeechParameters before = CountParameters(model);
  const SharingPlan plan = PlanFromFlags(options.plan, fold, model.encoder.config);
  const OutputRules rules = {.inputs = {options.model, options.calibrate, options.plan.plan_file},
                             .force = options.force};
  PrepareDirectory(options.out, rules, BytesToWrite(model.encoder.config, plan, options.store));
  model.encoder = FoldEncoder(model, plan, fold, options, pool, common.quiet);
  SaveSpeechModel(model, options.out, options.store, {.force = options.force});

  const SpeechParameters after = CountParameters(model);
  Output out;
  out.Add("written", options.out);
  out.Add("order", plan.order);
  out.Add("loops", plan.loops);
  out.Add("depths", plan.depths);
  out.Add("parameters_encoder", after.encoder.NonEmbedding());
  out.Add("parameters_encoder_before", before.encoder.NonEmbedding());
  out.Add("parameters_total", after.Total());
  AddFoldBytes(model.encoder, options, &out);
  out.Add("calibrated", !options.calibrate.empty());
  out.Add("seconds", watch.Seconds());
  out.Add("peak_memory_bytes", PeakMemoryBytes());
  out.Print(common.json);
  return 0;
}

}  // namespace rondo::cli
