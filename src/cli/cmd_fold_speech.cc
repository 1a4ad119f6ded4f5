#include <algorithm>
#include <string>

#include "base/machine.h"
#include "base/stopwatch.h"
#include "cli/fold_suggest.h"
#include "cli/output.h"
#include "cli/plan_flags.h"
#include "cli/session.h"
#include "rondo/audio.h"
#include "rondo/audio_features.h"
#include "rondo/calibrate.h"
#include "rondo/error.h"
#include "rondo/fold.h"
#include "rondo/speech_model.h"
#include "speech/encoder.h"
#include "speech/features.h"

namespace rondo::cli {
namespace {

// Speech of a manifest in windows, its utterances one behind the other.
class Windows {
 public:
  Windows(const SpeechModel& model, const std::string& manifest)
      : front_(model.config.front), utterances_(ReadManifest(manifest)) {
    const int positions = model.encoder.config.max_positions;
    const int64_t whole =
        int64_t{positions} * model.config.Subsampling() * front_.sample_rate / 100;
    whisper_ = front_.features == FeatureKind::kWhisper;
    samples_ = whisper_ ? whole : std::min<int64_t>(whole, int64_t{10} * front_.sample_rate);
  }

  // Features of the next window; empty at the end.
  std::vector<float> Next() {
    while (std::ssize(held_) < samples_ && next_ < utterances_.size()) {
      const AudioClip clip = store_.Read(utterances_[next_++].audio, front_.sample_rate);
      held_.insert(held_.end(), clip.samples.begin(), clip.samples.end());
    }
    if (std::ssize(held_) < samples_) return {};
    const auto window = std::span(held_).first(static_cast<size_t>(samples_));
    std::vector<float> values =
        whisper_ ? WhisperFeatures(front_.mel_bins, static_cast<int>(samples_ / 16000))
                       .Compute(window)
                       .values
                 : Fbank(FbankOf(front_)).Compute(window).values;
    held_.erase(held_.begin(), held_.begin() + samples_);
    return values;
  }

 private:
  FrontEnd front_;
  std::vector<Utterance> utterances_;
  AudioStore store_;
  bool whisper_ = false;
  int64_t samples_ = 0;
  std::vector<float> held_;
  size_t next_ = 0;
};

Model FoldEncoder(const SpeechModel& model, const SharingPlan& plan, const FoldOptions& fold,
                  const FoldCommandOptions& options, ThreadPool& pool, bool quiet) {
  if (options.calibrate.empty()) return Fold(model.encoder, plan, fold, pool, quiet);
  const int64_t d = model.encoder.config.d_model;
  Windows windows(model, options.calibrate);
  std::vector<float> rows;
  CalibrateOptions calibrate;
  const SpeechEncoder encoder(model, DType::kF32, pool);
  while (std::ssize(rows) / d < options.calibrate_tokens) {
    const std::vector<float> window = windows.Next();
    if (window.empty()) break;
    const std::vector<float> input = encoder.LayerInput(window);
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

int RunFoldSpeech(const FoldCommandOptions& options, const CommonOptions& common) {
  const Stopwatch watch;
  ThreadPool pool(common.threads);
  const DType store = ParseStoredType("--store", options.store);
  SpeechModel model = LoadSpeechModel(options.model);
  const FoldOptions fold = ParseFoldOptions(options.plan, model.encoder.config);
  if (options.suggest || options.allocate_ranks) {
    const std::string flag = options.suggest ? "--suggest" : "--allocate-ranks";
    throw Error({.function = "RunFold",
                 .problem = "a speech model",
                 .expected = flag + " for language models, or plan flags",
                 .file = options.model,
                 .field = flag});
  }
  const SpeechParameters before = CountParameters(model);
  const SharingPlan plan = PlanFromFlags(options.plan, fold, model.encoder.config);
  model.encoder = FoldEncoder(model, plan, fold, options, pool, common.quiet);
  SaveSpeechModel(model, options.out, store);

  const SpeechParameters after = CountParameters(model);
  Output out;
  out.Add("written", options.out);
  out.Add("order", plan.order);
  out.Add("loops", plan.loops);
  out.Add("depths", plan.depths);
  out.Add("parameters_encoder", after.encoder.NonEmbedding());
  out.Add("parameters_encoder_before", before.encoder.NonEmbedding());
  out.Add("parameters_total", after.Total());
  out.Add("calibrated", !options.calibrate.empty());
  out.Add("seconds", watch.Seconds());
  out.Add("peak_memory_bytes", PeakMemoryBytes());
  out.Print(common.json);
  return 0;
}

}  // namespace rondo::cli
