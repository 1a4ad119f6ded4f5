// A model that is run forward only: the teacher of a distillation, or a student being measured.
#pragma once

#include <map>
#include <span>
#include <vector>

#include "rondo/model.h"
#include "train/model/forward.h"
#include "train/model/params.h"

namespace rondo {

// What turns normed hidden states into logits.
struct LogitHead {
  at::Tensor weight;  // [vocab, d_model], of the type that its products' operands are rounded to
  at::Tensor bias;    // undefined: none
  float softcap = 0;
};

// The head of parameters, without a graph where it is rounded.
LogitHead HeadOf(const Params& params, const ModelConfig& config, ComputeType compute);
// The parameter behind it.
const at::Tensor& HeadWeight(const Params& params, const ModelConfig& config);
NormTensors FinalNormOf(const Params& params, const ModelConfig& config);
EmbeddingTensors EmbeddingOf(const Params& params);

struct TeacherOutput {
  at::Tensor normed;                 // [tokens, d_model] behind the final norm
  std::map<int, at::Tensor> hidden;  // [tokens, d_model] before the depths asked for
};

class Teacher {
 public:
  // Merged matrices of every depth, rounded to the type of `compute`; the model itself is not kept.
  Teacher(const Model& model, int64_t max_length, ComputeType compute = ComputeType::kF32,
          at::Device device = at::kCPU);
  // The same of parameters in training, with a fading rest if there is one, and with the first
  // `ffn_width` channels of the feed-forward.
  Teacher(const Params& params, const ModelConfig& config, const SharingPlan& plan,
          int64_t max_length, ComputeType compute, const FadingRest* fading, int64_t ffn_width);

  // `keep`: depths whose input is wanted; the number of layers stands for the last output.
  TeacherOutput Run(std::span<const int32_t> tokens, const RowsShape& shape,
                    std::span<const int> keep = {}) const;
  at::Device device() const { return head_.weight.device(); }
  const LogitHead& head() const { return head_; }
  const ModelConfig& config() const { return forward_.config(); }
  const LayerTensors& layer(int depth) const { return layers_[static_cast<size_t>(depth)]; }

 private:
  Forward forward_;
  EmbeddingTensors embedding_;
  std::vector<LayerTensors> layers_;
  NormTensors final_norm_;
  LogitHead head_;
};

}  // namespace rondo
