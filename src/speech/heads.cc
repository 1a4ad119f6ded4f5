#include "speech/heads.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "engine/packed_type.h"
#include "kernels/log_softmax.h"
#include "kernels/row_ops.h"

namespace rondo {

SpeechHeads::SpeechHeads(const SpeechModel& model, std::optional<DType> type, ThreadPool& pool)
    : pool_(pool), units_(model.config.units.count) {
  if (model.config.ctc) ctc_ = Load(model, "ctc", type);
  if (!model.config.transducer) return;
  context_ = model.config.transducer->context;
  joiner_ = Load(model, "joiner.encoder", type);
  out_ = Load(model, "joiner.out", type);
  embed_ = ToF32(model.heads.Get("predictor.embed.weight"));
}

SpeechHeads::Layer SpeechHeads::Load(const SpeechModel& model, const char* name,
                                     std::optional<DType> type) const {
  const Tensor& weight = model.heads.Get(std::string(name) + ".weight");
  return {.weight = PackedMatrix(weight, PackedType(weight, type)),
          .bias = ToF32(model.heads.Get(std::string(name) + ".bias"))};
}

std::vector<float> SpeechHeads::Run(const Layer& layer, std::span<const float> x) const {
  const int64_t rows = static_cast<int64_t>(x.size()) / layer.weight.in(), out = layer.weight.out();
  std::vector<float> y(static_cast<size_t>(rows * out));
  if (rows == 0) return y;
  MatMul(layer.weight, x.data(), rows, y.data(), /*accumulate=*/false, pool_);
  for (int64_t r = 0; r < rows; ++r) AddTo(y.data() + r * out, layer.bias.data(), out);
  return y;
}

std::vector<float> SpeechHeads::Ctc(std::span<const float> hidden) const {
  std::vector<float> log_p = Run(ctc_, hidden);
  LogSoftmax(log_p, units_);
  return log_p;
}

std::vector<float> SpeechHeads::JoinerInput(std::span<const float> hidden) const {
  return Run(joiner_, hidden);
}

std::vector<float> SpeechHeads::Predict(std::span<const int32_t> history) const {
  std::vector<float> h(static_cast<size_t>(width()), 0.0f);
  for (int i = 0; i < context_; ++i) {
    const auto back = static_cast<size_t>(i) + 1;
    const int32_t unit = back <= history.size() ? history[history.size() - back] : kBlankUnit;
    const auto row = (static_cast<int64_t>(i) * units_ + unit) * width();
    AddTo(h.data(), embed_.data() + row, width());
  }
  for (float& value : h) value = std::max(value, 0.0f);
  return h;
}

std::vector<float> SpeechHeads::Join(std::span<const float> position,
                                     std::span<const float> predictions) const {
  std::vector<float> z(predictions.begin(), predictions.end());
  const auto step = static_cast<size_t>(width());
  for (size_t i = 0; i < z.size(); ++i) z[i] = std::tanh(z[i] + position[i % step]);
  std::vector<float> log_p = Run(out_, z);
  LogSoftmax(log_p, units_);
  return log_p;
}

uint64_t SpeechHeads::bytes() const {
  return ctc_.weight.bytes() + joiner_.weight.bytes() + out_.weight.bytes() +
         embed_.size() * sizeof(float);
}

}  // namespace rondo
