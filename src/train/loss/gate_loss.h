// Training of the learned exit gate beside the model. Behind each loop but the last it predicts,
// from the hidden state there, whether the exit's most likely token is the last output's already:
// sigmoid(w · h / rms(h) + b), what Engine::ExitGate computes and `rondo calibrate-exit --fit-gate`
// fits to a finished model.
#pragma once

#include <cstdint>
#include <span>

#include "rondo/model.h"
#include "train/model/params.h"

namespace rondo {

struct GateLossValue {
  double loss = 0;       // binary cross-entropy, mean over tokens, nats
  double accuracy = 0;   // share of tokens that the gate judges rightly at probability 1/2
  double agreement = 0;  // share of tokens that may leave: what always or never would score
};

// Gives a model that has none a gate of zeros, which says 1/2 everywhere.
void AddExitGate(Model& model);

// Logits [tokens] of the gate behind a loop (0 is the first) for hidden[tokens, d_model].
at::Tensor GateLogits(const Params& params, int loop, const at::Tensor& hidden);

// Adds `scale` times the loss's gradient to those of the gate, and to nothing else.
// exit_best, last_best [tokens]: most likely tokens behind the loop and in the end.
GateLossValue GateLoss(const Params& params, int loop, const at::Tensor& hidden,
                       std::span<const int32_t> exit_best, std::span<const int32_t> last_best,
                       double scale);

}  // namespace rondo
