#include "train/loss/gate_loss.h"

#include <limits>
#include <string>
#include <vector>

namespace rondo {
namespace {

// Of mean square 1; a state of zeros stays one.
at::Tensor GateFeatures(const at::Tensor& hidden) {
  const at::Tensor rms = hidden.square().mean(1, /*keepdim=*/true).sqrt_();
  return hidden / rms.clamp_min_(std::numeric_limits<float>::min());
}

at::Tensor LogitsOf(const Params& params, int loop, const at::Tensor& features) {
  return features.mv(params.Get(ExitGateTensor(loop, "weight"))) +
         params.Get(ExitGateTensor(loop, "bias"));
}

void AddGradient(const Params& params, const std::string& name, const at::Tensor& gradient) {
  const Param& param = params.At(name);
  if (param.trained()) param.value.grad().add_(gradient);
}

}  // namespace

void AddExitGate(Model& model) {
  if (model.plan.exit_gate) return;
  model.plan.exit_gate = true;
  const auto zeros = [](int64_t size) {
    return Tensor::FromF32({size}, std::vector<float>(static_cast<size_t>(size)));
  };
  for (int loop = 0; loop + 1 < FindLoops(model.plan).loops; ++loop) {
    model.weights.Set(ExitGateTensor(loop, "weight"), zeros(model.config.d_model));
    model.weights.Set(ExitGateTensor(loop, "bias"), zeros(1));
  }
}

at::Tensor GateLogits(const Params& params, int loop, const at::Tensor& hidden) {
  const at::NoGradGuard no_grad;
  return LogitsOf(params, loop, GateFeatures(hidden));
}

GateLossValue GateLoss(const Params& params, int loop, const at::Tensor& hidden,
                       std::span<const int32_t> exit_best, std::span<const int32_t> last_best,
                       double scale) {
  const at::NoGradGuard no_grad;
  const at::Tensor features = GateFeatures(hidden);
  const at::Tensor logits = LogitsOf(params, loop, features);
  const int64_t tokens = logits.size(0);
  at::Tensor answers = at::empty({tokens}, at::kFloat);
  float* answer = answers.mutable_data_ptr<float>();
  for (size_t i = 0; i < last_best.size(); ++i) answer[i] = exit_best[i] == last_best[i];
  answers = answers.to(logits.device());
  const at::Tensor error = (at::sigmoid(logits) - answers) * (scale / static_cast<double>(tokens));
  AddGradient(params, ExitGateTensor(loop, "weight"), features.t().mv(error));
  AddGradient(params, ExitGateTensor(loop, "bias"), error.sum().view({1}));
  const at::Tensor loss = at::softplus(logits) - answers * logits;
  const at::Tensor right = (logits >= 0) == (answers > 0);
  const auto mean = [](const at::Tensor& x) { return x.to(at::kDouble).mean().item<double>(); };
  return {.loss = mean(loss), .accuracy = mean(right), .agreement = mean(answers)};
}

}  // namespace rondo
