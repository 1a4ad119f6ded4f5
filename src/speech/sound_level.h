// How loud sound is, and where: what tells speech from silence before a model is asked.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace rondo {

class SoundLevel {
 public:
  static constexpr double kLowest = -200;  // dB of digital silence here
  explicit SoundLevel(int sample_rate);

  void Push(std::span<const float> samples);
  // Of what comes now.
  void Reset();

  // Root mean square of the loudest 20 ms, in dB of full scale.
  double Loudest() const { return loudest_; }
  // From the first to the last 20 ms that are at most 25 dB below the loudest, in seconds since
  // Reset(): as long as somebody spoke, where nothing else is as loud.
  struct Range {
    double begin = 0, end = 0;
  };
  Range Loud() const;

 private:
  void EndWindow();

  int64_t window_;  // samples
  double seconds_;  // of a window
  int64_t count_ = 0;
  double squares_ = 0;
  double loudest_ = kLowest;
  std::vector<float> levels_;  // of windows
};

}  // namespace rondo
