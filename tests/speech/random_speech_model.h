// Small speech models with random weights.
#pragma once

#include <cmath>
#include <string>
#include <vector>

#include "base/hash.h"
#include "base/rng.h"
#include "rondo/speech_model.h"

namespace rondo {

struct SpeechShape {
  int layers = 6;
  int width = 16;
  int share = 3;
  int conv_kernel = 0;
  bool ctc = true, decoder = false, transducer = false;
  PositionKind positions = PositionKind::kSinusoidal;
};

inline Tensor RandomTensor(const TensorSpec& spec) {
  Rng rng(HashText(spec.name));
  const double width = spec.shape.size() > 1 ? static_cast<double>(spec.shape.back()) : 25.0;
  std::vector<float> values(static_cast<size_t>(ElementCount(spec.shape)));
  const bool gain = spec.name.ends_with("norm.weight") || spec.name == "front.scale";
  for (float& value : values) {
    value = static_cast<float>(rng.Normal() / std::sqrt(width)) + (gain ? 1.0f : 0.0f);
  }
  return Tensor::FromF32(spec.shape, std::move(values));
}

inline SpeechModel RandomSpeechModel(const SpeechShape& shape) {
  SpeechModel model;
  model.config.front.mel_bins = 8;
  model.config.units = {.kind = UnitKind::kCharacters, .list = {" ", "a", "b", "é"}, .count = 9};
  model.config.ctc = shape.ctc;
  if (shape.transducer) model.config.transducer = TransducerConfig{.width = 12, .context = 2};
  ModelConfig& encoder = model.encoder.config;
  encoder = EncoderConfig(shape.layers, shape.width, shape.width * 3 / 2, 4);
  encoder.conv_kernel = shape.conv_kernel;
  encoder.positions = shape.positions;
  if (shape.positions == PositionKind::kRope) encoder.rotary_dim = encoder.head_dim;
  if (shape.conv_kernel > 0) encoder.activation = Activation::kSilu;
  model.encoder.plan = ResidualTransformerPlan(encoder, {.share = shape.share, .rank = 2});
  if (shape.decoder) {
    model.decoder.emplace();
    ModelConfig& decoder = model.decoder->config;
    decoder = EncoderConfig(2, shape.width, shape.width * 3 / 2, 4);
    decoder.family = "decoder";
    decoder.causal = decoder.cross_attention = true;
    decoder.vocab = model.config.units.count;
    decoder.bos_token = kTranscribeUnit;
    decoder.eos_tokens = {kEndUnit};
    model.decoder->plan = IdentityPlan(decoder);
    for (const TensorSpec& spec : ExpectedTensors(decoder, model.decoder->plan)) {
      model.decoder->weights.Set(spec.name, RandomTensor(spec));
    }
  }
  for (const TensorSpec& spec : ExpectedTensors(encoder, model.encoder.plan)) {
    model.encoder.weights.Set(spec.name, RandomTensor(spec));
  }
  for (const TensorSpec& spec : ExpectedHeadTensors(model.config, encoder.d_model)) {
    model.heads.Set(spec.name, RandomTensor(spec));
  }
  return model;
}

}  // namespace rondo
