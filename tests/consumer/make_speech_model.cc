// Writes a tiny speech model with random weights, made with public headers alone.
//
//   make_speech_model DIRECTORY
#include <exception>
#include <iostream>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "rondo/speech_model.h"

namespace {

rondo::Tensor Random(const rondo::TensorSpec& spec, std::mt19937& random) {
  const bool gain = spec.name.ends_with("norm.weight") || spec.name == "front.scale";
  std::vector<float> values(static_cast<size_t>(rondo::ElementCount(spec.shape)));
  for (float& value : values) {
    value = 0.2f * (static_cast<float>(random() % 1000) / 500 - 1) + (gain ? 1.0f : 0.0f);
  }
  return rondo::Tensor::FromF32(spec.shape, std::move(values));
}

rondo::SpeechModel Make() {
  rondo::SpeechModel model;
  model.config.front.mel_bins = 8;
  model.config.units.list = {" ", "a", "b", "c"};
  model.config.units.count = rondo::kFirstTextUnit + 4;
  model.config.attention = {.chunk = 4, .left_chunks = 2};
  model.encoder.config = rondo::EncoderConfig(/*layers=*/4, /*d_model=*/16, /*d_ff=*/24,
                                              /*heads=*/4);
  model.encoder.plan =
      rondo::ResidualTransformerPlan(model.encoder.config, {.share = 2, .rank = 2});
  std::mt19937 random(1);
  for (const auto& spec : rondo::ExpectedTensors(model.encoder.config, model.encoder.plan)) {
    model.encoder.weights.Set(spec.name, Random(spec, random));
  }
  for (const auto& spec : rondo::ExpectedHeadTensors(model.config, 16)) {
    model.heads.Set(spec.name, Random(spec, random));
  }
  // Letters, where random weights would say hardly anything.
  std::vector<float> bias(rondo::kFirstTextUnit + 4);
  for (size_t i = rondo::kFirstTextUnit + 1; i < bias.size(); ++i) bias[i] = 5;
  const auto units = static_cast<int64_t>(bias.size());
  model.heads.Set("ctc.bias", rondo::Tensor::FromF32({units}, std::move(bias)));
  return model;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  try {
    rondo::SaveSpeechModel(Make(), argv[1], rondo::DType::kF32);
    return 0;
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
