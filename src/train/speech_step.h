// One training step's gradients of a speech model.
#pragma once

#include <cstdint>

#include "rondo/speech_model.h"
#include "train/params.h"
#include "train/speech_data.h"
#include "train/speech_forward.h"
#include "train/speech_section.h"
#include "train/step_key.h"

namespace rondo {

// Losses in nats a unit of the reference (the decoder's: with its end).
struct SpeechLosses {
  double total = 0, ctc = 0, attention = 0, transducer = 0;
  int64_t positions = 0;   // of the encoder
  int64_t infeasible = 0;  // utterances with more units than CTC has positions for
};

class SpeechStudent {
 public:
  // All outlive it.
  SpeechStudent(const SpeechModel& shape, Params& params, const SpeechSection& options,
                ComputeType compute);

  // Adds `scale` times the gradient of the weighted losses to those of the parameters. What is
  // drawn at random (dropout, chunks) is a function of `key`.
  SpeechLosses AddGradients(const SpeechBatch& batch, double scale, const StepKey& key);

  // The context of attention in the step of `key`: the model's, or one drawn.
  AttentionContext ContextOf(const StepKey& key) const;

 private:
  at::Tensor CtcLoss(const EncodedRows& encoded, const SpeechBatch& batch,
                     SpeechLosses& losses) const;
  at::Tensor DecoderLoss(const EncodedRows& encoded, const SpeechBatch& batch,
                         bool translate) const;
  at::Tensor TransducerLossOf(const EncodedRows& encoded, const SpeechBatch& batch) const;

  const SpeechModel& shape_;
  const SpeechSection& options_;
  SpeechForward forward_;
};

}  // namespace rondo
