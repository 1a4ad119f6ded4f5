// The best text of a transducer, position by position.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "speech/ctc_search.h"
#include "speech/heads.h"

namespace rondo {

// A beam of prefixes; those that are alike are one, with the sum of their probabilities. At each
// position a prefix writes up to `at_once` units and then a blank. With a beam of 1 the most
// probable unit is written until it is the blank.
class TransducerSearch {
 public:
  TransducerSearch(const SpeechHeads& heads, int beam, int at_once)
      : heads_(heads), beam_(beam), at_once_(at_once) {
    Reset();
  }
  void Reset();
  void Push(std::span<const float> hidden);  // [positions, d_model]
  std::vector<Prefix> Best() const { return beam_list_; }

 private:
  struct Candidate {
    Prefix prefix;
    std::vector<float> prediction;
  };
  void PushGreedy(std::span<const float> position);
  void PushBeam(std::span<const float> position);
  std::vector<float> JoinAll(std::span<const float> position,
                             const std::vector<Candidate>& candidates) const;

  const SpeechHeads& heads_;
  int beam_, at_once_;
  int64_t position_ = 0;
  std::vector<Prefix> beam_list_;         // most probable first
  std::vector<std::vector<float>> memo_;  // predictions of beam_list_
};

}  // namespace rondo
