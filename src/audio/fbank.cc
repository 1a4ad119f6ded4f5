#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <numbers>

#include "audio/mel_filters.h"
#include "audio/power_spectrum.h"
#include "base/choice.h"
#include "base/strings.h"
#include "rondo/audio_features.h"
#include "rondo/error.h"

namespace rondo {
namespace {

constexpr std::array<std::string_view, 4> kWindowNames = {"povey", "hann", "hamming",
                                                          "rectangular"};

std::vector<double> Window(WindowKind kind, size_t length) {
  std::vector<double> window(length, 1.0);
  for (size_t i = 0; i < length; ++i) {
    const double cosine =
        std::cos(2 * std::numbers::pi * static_cast<double>(i) / static_cast<double>(length - 1));
    if (kind == WindowKind::kPovey) window[i] = std::pow(0.5 - 0.5 * cosine, 0.85);
    if (kind == WindowKind::kHann) window[i] = 0.5 - 0.5 * cosine;
    if (kind == WindowKind::kHamming) window[i] = 0.54 - 0.46 * cosine;
  }
  return window;
}

double Energy(std::span<const double> x) {
  double sum = 0;
  for (const double value : x) sum += value * value;
  return sum;
}

// Kaldi's least value under a logarithm.
float LogFloored(double energy) {
  return static_cast<float>(
      std::log(std::max(energy, double{std::numeric_limits<float>::epsilon()})));
}

}  // namespace

std::string_view Name(WindowKind kind) { return ChoiceName(kWindowNames, kind); }
WindowKind WindowKindFromName(std::string_view name) {
  return ChoiceFromName<WindowKind>(kWindowNames, name, "WindowKindFromName");
}

int FbankOptions::FrameLength() const {
  return static_cast<int>(static_cast<float>(sample_rate) * 0.001f * frame_length_ms);
}
int FbankOptions::FrameShift() const {
  return static_cast<int>(static_cast<float>(sample_rate) * 0.001f * frame_shift_ms);
}

void FbankOptions::Validate() const {
  const auto check = [](bool good, const char* field, double got, const char* expected) {
    if (good) return;
    throw Error({.function = "FbankOptions",
                 .problem = ShortestNumber(got),
                 .expected = expected,
                 .file = {},
                 .field = field});
  };
  check(sample_rate >= 1000 && sample_rate <= 768000, "sample_rate", sample_rate,
        "1000 to 768000 Hz");
  check(frame_length_ms > 0 && frame_length_ms <= 1000 && FrameLength() >= 2, "frame_length_ms",
        frame_length_ms, "two samples to 1000 ms");
  check(frame_shift_ms > 0 && frame_shift_ms <= frame_length_ms && FrameShift() >= 1,
        "frame_shift_ms", frame_shift_ms, "one sample to the frame's length");
  check(preemphasis >= 0 && preemphasis <= 1, "preemphasis", preemphasis, "0 to 1");
  check(mel_bins >= 3 && mel_bins <= 1024, "mel_bins", mel_bins, "3 to 1024");
  const float nyquist = 0.5f * static_cast<float>(sample_rate);
  const float high = high_freq > 0 ? high_freq : nyquist + high_freq;
  check(low_freq >= 0 && low_freq < nyquist, "low_freq", low_freq, "0 to half the sampling rate");
  check(high > low_freq && high <= nyquist, "high_freq", high_freq,
        "above low_freq, to half the sampling rate");
  check(energy_floor >= 0 && std::isfinite(energy_floor), "energy_floor", energy_floor,
        "0 or more");
  check(sample_scale > 0 && std::isfinite(sample_scale), "sample_scale", sample_scale, "above 0");
}

struct Fbank::Tables {
  std::vector<double> window;
  PowerSpectrum spectrum;
  MelFilters filters;
};

Fbank::Fbank(const FbankOptions& options) : options_(options) {
  options.Validate();
  const size_t length = static_cast<size_t>(options.FrameLength());
  const size_t padded = std::bit_ceil(length);
  const double rate = options.sample_rate;
  const double high = options.high_freq > 0 ? options.high_freq : rate / 2 + options.high_freq;
  tables_ = std::make_unique<Tables>(
      Tables{Window(options.window, length), PowerSpectrum(padded),
             MelFilters::Kaldi(options.mel_bins, padded, rate, options.low_freq, high)});
}

Fbank::~Fbank() = default;

int64_t Fbank::FrameCount(int64_t samples) const {
  const int64_t length = options_.FrameLength(), shift = options_.FrameShift();
  if (!options_.snip_edges) return (samples + shift / 2) / shift;
  return samples < length ? 0 : 1 + (samples - length) / shift;
}

void Fbank::ComputeFrame(std::span<const float> samples, std::vector<double>& scratch,
                         float* out) const {
  const size_t length = samples.size();
  const size_t padded = std::bit_ceil(length);
  // The frame, which becomes its spectrum, then the energies of the filters.
  scratch.assign(padded + static_cast<size_t>(options_.mel_bins), 0.0);
  const std::span<double> x = std::span(scratch).first(padded);
  double mean = 0;
  for (size_t i = 0; i < length; ++i) {
    x[i] = double{samples[i]} * options_.sample_scale;
    mean += x[i];
  }
  mean /= static_cast<double>(length);
  if (options_.remove_dc_offset) {
    for (size_t i = 0; i < length; ++i) x[i] -= mean;
  }
  double energy = options_.raw_energy ? Energy(x) : 0;
  for (size_t i = length - 1; i > 0; --i) x[i] -= options_.preemphasis * x[i - 1];
  x[0] -= options_.preemphasis * x[0];
  for (size_t i = 0; i < length; ++i) x[i] *= tables_->window[i];
  if (!options_.raw_energy) energy = Energy(x);

  thread_local std::vector<std::complex<double>> transform;
  tables_->spectrum.Compute(x, transform);
  const std::span<double> mel = std::span(scratch).subspan(padded);
  tables_->filters.Apply(x.first(tables_->spectrum.bins()), mel);
  if (options_.use_energy) *out++ = LogFloored(std::max(energy, double{options_.energy_floor}));
  for (const double value : mel) *out++ = LogFloored(value);
}

Features Fbank::Compute(std::span<const float> samples) const {
  Features features;
  FbankStream stream(*this);
  stream.Push(samples, &features);
  stream.Finish(&features);
  return features;
}

void FbankStream::Push(std::span<const float> samples, Features* out) {
  pending_.insert(pending_.end(), samples.begin(), samples.end());
  received_ += static_cast<int64_t>(samples.size());
  Emit(false, out);
}

void FbankStream::Finish(Features* out) {
  Emit(true, out);
  *this = FbankStream(*fbank_);
}

void FbankStream::Emit(bool finished, Features* out) {
  const FbankOptions& options = fbank_->options();
  const int64_t length = options.FrameLength(), shift = options.FrameShift();
  const int64_t lead = options.snip_edges ? 0 : length / 2 - shift / 2;  // of frame 0 before 0
  out->bins = options.Bins();
  window_.resize(static_cast<size_t>(length));
  const int64_t frames = fbank_->FrameCount(received_);
  for (; next_frame_ < frames; ++next_frame_) {
    const int64_t begin = next_frame_ * shift - lead;
    if (!finished && begin + length > received_) break;
    for (int64_t i = 0; i < length; ++i) {
      int64_t at = begin + i;
      // Mirrored, over and over where the signal is shorter than the frame.
      while (at < 0 || at >= received_) at = at < 0 ? -at - 1 : 2 * received_ - 1 - at;
      window_[static_cast<size_t>(i)] = pending_[static_cast<size_t>(at - first_)];
    }
    const size_t row = out->values.size();
    out->values.resize(row + static_cast<size_t>(out->bins));
    fbank_->ComputeFrame(window_, scratch_, out->values.data() + row);
  }
  // What mirroring at either end may still read stays.
  const int64_t keep = options.snip_edges
                           ? next_frame_ * shift
                           : std::min(next_frame_ * shift - lead, received_ - length);
  const int64_t drop = std::min(keep, received_) - first_;
  if (drop <= 0) return;
  pending_.erase(pending_.begin(), pending_.begin() + static_cast<ptrdiff_t>(drop));
  first_ += drop;
}

}  // namespace rondo
