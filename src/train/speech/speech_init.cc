#include "train/speech/speech_init.h"

#include <cmath>

#include "base/with_file.h"
#include "rondo/speech_units.h"
#include "train/model/random_weights.h"
#include "train/speech/train_units.h"

namespace rondo {
namespace {

[[noreturn]] void Fail(const std::string& file, const char* field, std::string got,
                       const char* expected) {
  throw Error({.function = "SpeechShapeOf",
               .problem = std::move(got),
               .expected = expected,
               .file = file,
               .field = field});
}

ModelConfig EncoderOf(const SpeechSection& s, const std::string& file) {
  if (s.heads < 1 || s.d_model < 1 || s.d_model % s.heads != 0) {
    Fail(file, "speech.heads", std::to_string(s.heads), "a divisor of d_model");
  }
  ModelConfig config = EncoderConfig(s.layers, s.d_model, s.d_ff, s.heads);
  config.activation = s.activation;
  config.conv_kernel = s.conv_kernel;
  if (s.positions == PositionKind::kRope) {
    if (config.head_dim % 2 != 0) Fail(file, "speech.heads", "odd heads", "heads of even width");
    config.positions = PositionKind::kRope;
    config.rotary_dim = config.head_dim;
  }
  return config;
}

ModelConfig DecoderOf(const SpeechSection& s, int units) {
  ModelConfig config = EncoderConfig(s.decoder_layers, s.d_model, s.d_ff, s.heads);
  config.family = "decoder";
  config.causal = config.cross_attention = true;
  config.tied_embeddings = false;
  config.vocab = units;
  config.bos_token = s.task == SpeechTask::kTranslate ? kTranslateUnit : kTranscribeUnit;
  config.eos_tokens = {kEndUnit};
  return config;
}

// Standard deviation of a matrix's elements (Glorot and Bengio 2010), or of an embedding's.
double Deviation(const TensorSpec& spec) {
  if (spec.name.find("embed") != spec.name.npos) return 0.5;
  if (spec.name.find("conv_depth") != spec.name.npos) {
    return 1 / std::sqrt(static_cast<double>(spec.shape[1]));
  }
  double in = 1;
  for (size_t i = 1; i < spec.shape.size(); ++i) in *= static_cast<double>(spec.shape[i]);
  return std::sqrt(2 / (in + static_cast<double>(spec.shape[0])));
}

void AddUnits(const SpeechSection& s, std::span<const Utterance> utterances,
              const std::string& folder, SpeechModel& model) {
  UnitConfig& units = model.config.units;
  units.lower = s.lower;
  std::vector<std::string> texts;
  for (const Utterance& u : utterances) {
    for (const std::string* text : {&u.text, &u.translation}) {
      if (!text->empty()) texts.push_back(s.lower ? PlainText(*text) : SingleSpaces(*text));
    }
  }
  if (s.units == UnitKind::kCharacters) {
    units.list = CharactersOf(texts);
    units.count = kFirstTextUnit + static_cast<int>(units.list.size());
  } else {
    units.kind = UnitKind::kSentencePiece;
    units.count = kFirstTextUnit + TrainSentencePiece(texts, s.unit_count, folder);
    model.path = folder;
  }
}

}  // namespace

SpeechModel SpeechShapeOf(const SpeechSection& s, std::span<const Utterance> utterances,
                          const std::string& folder, const std::string& file) {
  SpeechModel model;
  AddUnits(s, utterances, folder, model);
  SpeechConfig& config = model.config;
  config.front.sample_rate = s.sample_rate;
  config.front.mel_bins = s.mel_bins;
  config.front.strides = s.strides;
  config.attention = {.chunk = s.chunk, .left_chunks = s.left_chunks};
  config.ctc = s.ctc > 0;
  if (s.transducer > 0)
    config.transducer = {.width = s.joiner_width, .context = s.predictor_context};
  model.encoder.config = EncoderOf(s, file);
  WithFile(file, [&] {
    model.encoder.config.Validate();
    config.Validate();
    model.encoder.plan =
        ResidualTransformerPlan(model.encoder.config, {.share = s.share,
                                                       .rank = s.rank,
                                                       .diagonal = s.diagonal,
                                                       .square_diagonal = s.square_diagonal,
                                                       .own_norms = s.own_norms});
    model.encoder.plan.Validate(model.encoder.config);
  });
  if (s.attention > 0) {
    model.decoder.emplace();
    model.decoder->config = DecoderOf(s, config.units.count);
    WithFile(file, [&] { model.decoder->config.Validate(); });
    model.decoder->plan = IdentityPlan(model.decoder->config);
  }
  return model;
}

void InitSpeechWeights(uint64_t seed, const GlobalCmvn& cmvn, SpeechModel& model) {
  SetRandomWeights(seed, "encoder.", Deviation, model.encoder);
  if (model.decoder) SetRandomWeights(seed, "decoder.", Deviation, *model.decoder);
  for (const TensorSpec& spec : ExpectedHeadTensors(model.config, model.encoder.config.d_model)) {
    model.heads.Set(spec.name, RandomTensor(spec, Deviation(spec), seed));
  }
  const auto bins = static_cast<int64_t>(cmvn.shift.size());
  model.heads.Set("front.shift", Tensor::FromF32({bins}, cmvn.shift));
  model.heads.Set("front.scale", Tensor::FromF32({bins}, cmvn.scale));
  CheckSpeechModel(model);
}

}  // namespace rondo
