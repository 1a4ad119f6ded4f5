// One training step's gradients of a speech model.
#pragma once

#include <cstdint>
#include <span>

#include "rondo/speech_model.h"
#include "train/model/params.h"
#include "train/model/step_key.h"
#include "train/model/student.h"
#include "train/recipe/speech_section.h"
#include "train/speech/speech_data.h"
#include "train/speech/speech_forward.h"
#include "train/speech/speech_teacher.h"

namespace rondo {

// Losses in nats a unit of the reference (the decoder's: with its end).
struct SpeechLosses {
  double total = 0, ctc = 0, attention = 0, transducer = 0;
  double kd = 0;           // divergences from the teacher's heads, each times its head's weight
  double hidden = 0;       // HiddenError
  int64_t positions = 0;   // of the encoder
  int64_t infeasible = 0;  // utterances with more units than CTC has positions for
  void Add(const SpeechLosses& other, double share);
};

class SpeechStudent {
 public:
  // `shape`, `params`, `options` and `teacher` outlive it. Of `loss` the divergence and the hidden
  // states count, and they need a teacher.
  SpeechStudent(const SpeechModel& shape, Params& params, const SpeechSection& options,
                ComputeType compute, LossOptions loss = {}, const SpeechTeacher* teacher = nullptr);

  // Adds `scale` times the gradient of the weighted losses to those of the parameters. What is
  // drawn at random (dropout, chunks) is a function of `key`.
  SpeechLosses AddGradients(const SpeechBatch& batch, double scale, const StepKey& key);

  // The gradients of a step's passes as if they were one batch: each has the share of its texts'
  // units, ends included. `key` is that of the first.
  SpeechLosses AddStep(std::span<const SpeechBatch> passes, StepKey key);

  // HiddenError of a batch with nothing drawn.
  double DistanceFromTeacher(const SpeechBatch& batch) const;

  // The context of attention in the step of `key`: the model's, or one drawn.
  AttentionContext ContextOf(const StepKey& key) const;

 private:
  // One pass over a batch: what the encoders make of it, and the losses so far.
  struct Pass {
    const SpeechBatch& batch;
    EncodedRows encoded;
    EncodedRows taught;  // hidden is undefined without a teacher
    SpeechLosses losses;
    at::Tensor total;
    // Adds weight · loss to the total; returns the loss.
    double Add(double weight, const at::Tensor& loss);
  };
  // Units of the texts that the losses of a batch read, each text's end one more.
  int64_t WeightOf(const SpeechBatch& batch) const;
  void AddCtc(Pass& pass) const;
  void AddDecoder(Pass& pass, bool translate) const;
  void AddTransducer(Pass& pass) const;

  const SpeechModel& shape_;
  const SpeechSection& options_;
  const LossOptions loss_;
  const SpeechTeacher* teacher_;
  SpeechForward forward_;
};

}  // namespace rondo
