// What a speech model learns from another one: hidden states of the encoder, and what the heads
// make of them.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/grad/vocab_loss.h"
#include "rondo/audio_features.h"
#include "rondo/speech_model.h"
#include "train/model/params.h"
#include "train/speech/speech_forward.h"

namespace rondo {

// How a model normalises features; without bins where it does not.
GlobalCmvn CmvnOf(const SpeechModel& model);

// A speech model that is run forward only. Attention sees what its own configuration says.
class SpeechTeacher {
 public:
  // The model itself is not kept.
  SpeechTeacher(const SpeechModel& model, ComputeType compute);

  // `features` and `keep` as SpeechForward::Encode has them.
  EncodedRows Encode(const at::Tensor& features, std::span<const int64_t> lengths,
                     std::span<const int> keep) const;
  at::Tensor Ctc(const EncodedRows& encoded) const;
  at::Tensor Decode(const EncodedRows& encoded, const at::Tensor& tokens) const;
  // Of the features that it reads; without bins where it takes them as they are.
  const GlobalCmvn& cmvn() const { return cmvn_; }

 private:
  Params params_;
  SpeechForward forward_;
  AttentionContext context_;
  GlobalCmvn cmvn_;
};

// Sum of the divergences of rows of logits [rows, units] from the teacher's, in nats, as `loss` has
// it.
at::Tensor SumOfDivergences(const VocabLoss& loss, const at::Tensor& student,
                            const at::Tensor& teacher);

// Mean over the encoder's output and the states that both kept, of the squared difference relative
// to the squared length of the teacher's; what lies beyond a row's end does not count.
at::Tensor HiddenError(const EncodedRows& student, const EncodedRows& teacher);

// Rows [n, width] of x[rows, positions, width] that lie before each row's end.
at::Tensor RowsWithin(const at::Tensor& x, std::span<const int64_t> lengths);

}  // namespace rondo
