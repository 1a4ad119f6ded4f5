// The forward pass of speech models in training. It computes what src/speech computes, for batches.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "rondo/speech_model.h"
#include "train/model/forward.h"
#include "train/model/params.h"
#include "train/model/torch.h"

namespace rondo {

// What an encoder makes of a batch.
struct EncodedRows {
  at::Tensor hidden;                 // [rows, positions, d_model]
  std::vector<int64_t> lengths;      // positions of each row; the rest means nothing
  std::map<int, at::Tensor> states;  // as hidden, behind the depths asked for
  int64_t rows() const { return hidden.size(0); }
  int64_t positions() const { return hidden.size(1); }
};

// All of a speech model's tensors as one model, for Params; its configuration is the encoder's.
Model AsParameters(const SpeechModel& model);

class SpeechForward {
 public:
  // Of `shape` the configurations and plans count, not the weights. `params` outlive it; their
  // names are those of JoinWeights.
  SpeechForward(const SpeechModel& shape, const Params& params, ComputeType compute);

  // features[rows, mel_bins, frames], normalised, zeros beyond each row's `lengths`.
  // `keep`: depths whose output is wanted.
  EncodedRows Encode(const at::Tensor& features, std::span<const int64_t> lengths,
                     const AttentionContext& context, double dropout,
                     std::span<const int> keep = {}) const;

  // Logits [rows, positions, units].
  at::Tensor Ctc(const EncodedRows& encoded) const;
  // Logits [rows, length, units] of what follows each of tokens[rows, length].
  at::Tensor Decode(const EncodedRows& encoded, const at::Tensor& tokens, double dropout) const;
  // Log-probabilities of blank [rows, positions, length + 1] and label [rows, positions, length]
  // for units[rows, length].
  struct Transitions {
    at::Tensor blank, label;
  };
  Transitions Transduce(const EncodedRows& encoded, const at::Tensor& units) const;

 private:
  at::Tensor Linear(const at::Tensor& x, const char* name) const;
  at::Tensor Subsample(at::Tensor x, std::vector<int64_t>& lengths) const;

  const SpeechModel shape_;
  const Params& params_;
  Forward encoder_;
  std::optional<Forward> decoder_;
};

}  // namespace rondo
