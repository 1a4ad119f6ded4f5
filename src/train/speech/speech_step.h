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

// What the losses of a step are averaged over: all of its passes together, so that it makes no
// difference how a step is divided into passes.
struct SpeechCounts {
  int64_t units = 0;         // of transcripts: CTC and transducer
  int64_t transcripts = 0;   // of a decoder that transcribes: units and ends
  int64_t translations = 0;  // of one that translates
  int64_t positions = 0;     // of the encoder
  void Add(const SpeechBatch& batch, const SpeechConfig& config);
};

// Losses in nats a unit of the reference (the decoder's: with its end). Those of a pass are its
// share of the step's.
struct SpeechLosses {
  double total = 0, ctc = 0, attention = 0, transducer = 0;
  double kd = 0;           // divergences from the teacher's heads, each times its head's weight
  double hidden = 0;       // HiddenError
  int64_t positions = 0;   // of the encoder
  int64_t infeasible = 0;  // utterances with more units than CTC has positions for
  void Add(const SpeechLosses& other);
};

class SpeechStudent {
 public:
  // `shape`, `params`, `options` and `teacher` outlive it. Of `loss` the divergence and the hidden
  // states count, and they need a teacher.
  SpeechStudent(const SpeechModel& shape, Params& params, const SpeechSection& options,
                ComputeType compute, LossOptions loss = {}, const SpeechTeacher* teacher = nullptr);

  // Adds the gradient of the weighted losses to those of the parameters, of all passes of a step as
  // if they were one batch. (Only the relative error of hidden states is each pass's own; passes
  // weigh by their positions there.) What is drawn at random, dropout and chunks, is a function of
  // `key`, the first pass's.
  SpeechLosses AddStep(std::span<const SpeechBatch> passes, StepKey key);

  // HiddenError of a batch with nothing drawn.
  double DistanceFromTeacher(const SpeechBatch& batch) const;

  // The context of attention in the step of `key`: the model's, or one drawn.
  AttentionContext ContextOf(const StepKey& key) const;

 private:
  // One pass over a batch: what the encoders make of it, and the losses so far.
  struct Pass {
    const SpeechBatch& batch;
    const SpeechCounts& all;  // of the step
    EncodedRows encoded;
    EncodedRows taught;  // hidden is undefined without a teacher
    SpeechLosses losses;
    at::Tensor total;
    // Adds weight · loss to the total; returns the loss.
    double Add(double weight, const at::Tensor& loss);
  };
  SpeechLosses AddPass(const SpeechBatch& batch, const SpeechCounts& all, const StepKey& key);
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
