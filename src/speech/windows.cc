#include "speech/windows.h"

#include <algorithm>
#include <span>
#include <utility>

#include "speech/features.h"

namespace rondo {

SpeechWindows::SpeechWindows(const SpeechModel& model, std::vector<Utterance> utterances,
                             double speed)
    : front_(model.config.front), utterances_(std::move(utterances)), speed_(speed) {
  constexpr int64_t kFramesPerSecond = 100, kMostSeconds = 10;
  const int64_t frames = int64_t{model.encoder.config.max_positions} * model.config.Subsampling();
  const int64_t whole = frames * front_.sample_rate / kFramesPerSecond;
  whisper_ = front_.features == FeatureKind::kWhisper;
  samples_ = whisper_ ? whole : std::min<int64_t>(whole, kMostSeconds * front_.sample_rate);
}

Features SpeechWindows::Next() {
  while (std::ssize(held_) < samples_ && next_ < utterances_.size()) {
    const AudioClip clip = store_.Read(utterances_[next_++].audio, front_.sample_rate);
    const std::vector<float> samples =
        speed_ == 1 ? clip.samples : ChangeSpeed(clip.samples, speed_);
    held_.insert(held_.end(), samples.begin(), samples.end());
  }
  if (std::ssize(held_) < samples_) return {};
  const auto window = std::span(held_).first(static_cast<size_t>(samples_));
  const auto whole_seconds = static_cast<int>(samples_ / front_.sample_rate);
  Features features = whisper_ ? WhisperFeatures(front_.mel_bins, whole_seconds).Compute(window)
                               : Fbank(FbankOf(front_)).Compute(window);
  held_.erase(held_.begin(), held_.begin() + samples_);
  return features;
}

}  // namespace rondo
