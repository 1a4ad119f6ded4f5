#include <algorithm>
#include <cmath>
#include <numbers>

#include "audio/mel_filters.h"
#include "audio/power_spectrum.h"
#include "rondo/audio_features.h"
#include "rondo/error.h"

namespace rondo {
namespace {

constexpr size_t kFftSize = 400;
constexpr double kFloor = 1e-10;
constexpr float kRange = 8;  // powers of ten below the maximum

}  // namespace

struct WhisperFeatures::Tables {
  std::vector<double> window;
  PowerSpectrum spectrum;
  MelFilters filters;
};

WhisperFeatures::WhisperFeatures(int mel_bins, int seconds)
    : samples_(int64_t{seconds} * kSampleRate), bins_(mel_bins) {
  if (mel_bins < 3 || mel_bins > 1024 || seconds < 1 || seconds > 3600) {
    throw Error({.function = "WhisperFeatures",
                 .problem = std::to_string(mel_bins) + " bins, windows of " +
                            std::to_string(seconds) + " s",
                 .expected = "3 to 1024 bins, 1 to 3600 s"});
  }
  std::vector<double> window(kFftSize);
  for (size_t i = 0; i < kFftSize; ++i) {  // periodic: the value after the last would be the first
    window[i] = 0.5 - 0.5 * std::cos(2 * std::numbers::pi * static_cast<double>(i) / kFftSize);
  }
  tables_ = std::make_unique<Tables>(Tables{std::move(window), PowerSpectrum(kFftSize),
                                            MelFilters::Slaney(mel_bins, kFftSize, kSampleRate)});
}

WhisperFeatures::~WhisperFeatures() = default;

Features WhisperFeatures::Compute(std::span<const float> samples) const {
  Features features{.bins = bins_, .values = std::vector<float>(frames() * bins_)};
  Compute(samples, features.values);
  return features;
}

void WhisperFeatures::Compute(std::span<const float> samples, std::span<float> values) const {
  const int64_t held = std::min(std::ssize(samples), samples_);
  // Frames are centred; the window's ends are mirrored about their last samples.
  const auto sample = [&](int64_t at) -> double {
    if (at < 0) at = -at;
    if (at >= samples_) at = 2 * (samples_ - 1) - at;
    return at < held ? samples[static_cast<size_t>(at)] : 0.0f;
  };
  std::vector<double> x(kFftSize), energies(static_cast<size_t>(bins_));
  std::vector<std::complex<double>> transform;
  float top = -10;
  for (int64_t frame = 0; frame < frames(); ++frame) {
    float* out = values.data() + frame * bins_;
    const int64_t begin = frame * kHop - static_cast<int64_t>(kFftSize / 2);
    if (begin >= held && begin + static_cast<int64_t>(kFftSize) <= samples_) {
      std::fill_n(out, bins_, -10.0f);  // log10 of the floor
      continue;
    }
    for (size_t i = 0; i < kFftSize; ++i) {
      x[i] = sample(begin + static_cast<int64_t>(i)) * tables_->window[i];
    }
    tables_->spectrum.Compute(x, transform);
    tables_->filters.Apply(std::span(x).first(tables_->spectrum.bins()), energies);
    for (size_t b = 0; b < energies.size(); ++b) {
      out[b] = static_cast<float>(std::log10(std::max(energies[b], kFloor)));
      top = std::max(top, out[b]);
    }
  }
  for (float& value : values) value = (std::max(value, top - kRange) + 4) / 4;
}

}  // namespace rondo
