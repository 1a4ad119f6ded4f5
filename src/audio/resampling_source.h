// A source whose sound comes in blocks at rates of their own.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "rondo/audio.h"

namespace rondo {

struct SoundBlock {
  std::span<const float> samples;  // mono; empty at the end
  int rate = 0;                    // Hz; may change from block to block
};

// Turns blocks into any number of samples at one rate.
class ResamplingSource : public AudioSource {
 public:
  explicit ResamplingSource(int rate) : rate_(rate) {}
  int sample_rate() const final { return rate_; }
  size_t Read(std::span<float> out) final;

 protected:
  virtual SoundBlock NextBlock() = 0;

 private:
  void Take(const SoundBlock& block);

  int rate_;
  int from_ = 0;  // the rate that resampler_ takes
  std::unique_ptr<Resampler> resampler_;
  std::vector<float> ready_;
  size_t begin_ = 0;
  bool ended_ = false;
};

}  // namespace rondo
