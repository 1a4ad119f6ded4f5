#include "speech/sound_level.h"

#include <algorithm>
#include <cmath>

namespace rondo {

constexpr int kWindowsPerSecond = 50;
constexpr double kSpeechRange = 25;  // dB between the loudest and the softest sounds of a speaker

SoundLevel::SoundLevel(int sample_rate)
    : window_(std::max(1, sample_rate / kWindowsPerSecond)),
      seconds_(static_cast<double>(window_) / sample_rate) {}

void SoundLevel::Reset() {
  count_ = 0;
  squares_ = 0;
  loudest_ = kLowest;
  levels_.clear();
}

void SoundLevel::EndWindow() {
  const double mean = squares_ / static_cast<double>(count_);
  const double level = mean > 0 ? std::max(kLowest, 10 * std::log10(mean)) : kLowest;
  levels_.push_back(static_cast<float>(level));
  loudest_ = std::max(loudest_, level);
  count_ = 0;
  squares_ = 0;
}

void SoundLevel::Push(std::span<const float> samples) {
  for (const float sample : samples) {
    squares_ += double{sample} * sample;
    if (++count_ == window_) EndWindow();
  }
}

SoundLevel::Range SoundLevel::Loud() const {
  const auto loud = [&](float level) { return level >= loudest_ - kSpeechRange; };
  const auto first = std::ranges::find_if(levels_, loud);
  if (first == levels_.end()) return {};
  const auto last = std::find_if(levels_.rbegin(), levels_.rend(), loud);
  return {static_cast<double>(first - levels_.begin()) * seconds_,
          static_cast<double>(last.base() - levels_.begin()) * seconds_};
}

}  // namespace rondo
