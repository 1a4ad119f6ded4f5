#include <cstdio>

#include "cli/output.h"
#include "cli/plan_flags.h"
#include "report/plan_picture.h"
#include "rondo/speech_model.h"

namespace rondo::cli {
namespace {

void AddTransformer(const std::string& name, const ModelConfig& config, Output* out) {
  out->Add(name + "_layers", config.layers);
  out->Add(name + "_d_model", config.d_model);
  out->Add(name + "_d_ff", config.d_ff);
  out->Add(name + "_heads", config.heads);
  if (config.conv_kernel > 0) out->Add(name + "_conv_kernel", config.conv_kernel);
}

std::string HeadsOf(const SpeechModel& model) {
  std::string heads;
  if (model.config.ctc) heads += " ctc";
  if (model.config.transducer) heads += " transducer";
  if (model.decoder) heads += " decoder";
  return heads.substr(1);
}

}  // namespace

int InspectSpeech(SpeechModel model, const InspectOptions& options, const CommonOptions& common) {
  if (options.what_if) {
    model.encoder.plan = PlanFromFlags(
        options.plan, ParseFoldOptions(options.plan, model.encoder.config), model.encoder.config);
  }
  const SpeechParameters count = CountParameters(model);
  Output out;
  out.Add("heads", HeadsOf(model));
  out.Add("sample_rate", model.config.front.sample_rate);
  out.Add("mel_bins", model.config.front.mel_bins);
  out.Add("subsampling", model.config.Subsampling());
  out.Add("chunk", model.config.attention.chunk);
  out.Add("left_chunks", model.config.attention.left_chunks);
  out.Add("units", model.config.units.count);
  AddTransformer("encoder", model.encoder.config, &out);
  out.Add("encoder_parameters", count.encoder.NonEmbedding());
  out.Add("encoder_parameters_unshared", count.encoder.logical);
  out.Add("encoder_share", count.EncoderShare());
  if (model.decoder) {
    AddTransformer("decoder", model.decoder->config, &out);
    out.Add("decoder_parameters", count.decoder.Total());
  }
  out.Add("parameters_total", count.Total());
  out.AddJson("plan", PlanToJson(model.encoder.plan));
  if (!common.json) {
    std::fputs((DrawPlan(model.encoder.config, model.encoder.plan, WantsColor()) + "\n").c_str(),
               stdout);
  }
  out.Print(common.json);
  return 0;
}

}  // namespace rondo::cli
