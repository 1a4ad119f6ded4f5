// CTC and transducer heads at work.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "kernels/matmul.h"
#include "rondo/speech_model.h"

namespace rondo {

class ThreadPool;

class SpeechHeads {
 public:
  SpeechHeads(const SpeechModel& model, std::optional<DType> type, ThreadPool& pool);

  bool has_ctc() const { return ctc_.weight.out() > 0; }
  bool has_transducer() const { return context_ > 0; }
  int units() const { return units_; }

  // Log-probabilities [positions, units] of hidden[positions, d_model].
  std::vector<float> Ctc(std::span<const float> hidden) const;

  // Joiner's half of hidden[positions, d_model]: [positions, width].
  std::vector<float> JoinerInput(std::span<const float> hidden) const;
  // Predictor's half behind a history whose last unit is the newest: [width].
  std::vector<float> Predict(std::span<const int32_t> history) const;
  // Log-probabilities [rows, units] of sums of a position's half and predictions[rows, width].
  std::vector<float> Join(std::span<const float> position,
                          std::span<const float> predictions) const;
  int64_t width() const { return joiner_.weight.out(); }
  uint64_t bytes() const;

 private:
  struct Layer {
    PackedMatrix weight;
    std::vector<float> bias;
  };
  Layer Load(const SpeechModel& model, const char* name, std::optional<DType> type) const;
  std::vector<float> Run(const Layer& layer, std::span<const float> x) const;

  ThreadPool& pool_;
  int units_;
  int context_ = 0;
  Layer ctc_, joiner_, out_;
  std::vector<float> embed_;  // [context, units, width]
};

}  // namespace rondo
