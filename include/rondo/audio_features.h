// From samples to what acoustic models read: log-mel filterbanks, normalised and augmented.
//
//   const Fbank fbank({.mel_bins = 80});
//   Features features = fbank.Compute(clip.samples);      // [frames, 80]
//   NormalizeUtterance({}, &features);
//   SpecAugment({}, /*seed=*/1, &features);
//
// A live stream gives the same frames bit for bit, whatever its pieces:
//
//   FbankStream stream(fbank);
//   stream.Push(samples, &features);                      // appends frames as they are complete
//   stream.Finish(&features);
//
// Fbank and WhisperFeatures are immutable: any number of threads may use one. A stream belongs to
// one thread.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace rondo {

struct Features {
  int bins = 0;
  std::vector<float> values = {};  // [frames, bins]
  int64_t frames() const { return bins > 0 ? static_cast<int64_t>(values.size()) / bins : 0; }
  std::span<float> Row(int64_t frame) {
    return std::span(values).subspan(static_cast<size_t>(frame * bins), static_cast<size_t>(bins));
  }
  std::span<const float> Row(int64_t frame) const {
    return std::span(values).subspan(static_cast<size_t>(frame * bins), static_cast<size_t>(bins));
  }
};

enum class WindowKind { kPovey, kHann, kHamming, kRectangular };
std::string_view Name(WindowKind kind);  // povey, hann, hamming, rectangular
WindowKind WindowKindFromName(std::string_view name);

// Kaldi's filterbank features (compute-fbank-feats) without dither; the defaults are Kaldi's, but
// for the number of bins.
struct FbankOptions {
  int sample_rate = 16000;
  float frame_length_ms = 25;
  float frame_shift_ms = 10;
  float preemphasis = 0.97f;
  bool remove_dc_offset = true;
  WindowKind window = WindowKind::kPovey;
  int mel_bins = 80;
  float low_freq = 20;  // Hz
  float high_freq = 0;  // Hz; 0 or less counts from half the sampling rate
  // True: only frames that lie within the signal. False: one frame each shift, the signal mirrored
  // at its ends.
  bool snip_edges = true;
  bool use_energy = false;  // the frame's log energy before the bins: bins + 1 values
  bool raw_energy = true;   // … of the samples before preemphasis and window
  float energy_floor = 0;   // least energy (not its logarithm); 0: none
  // Kaldi reads 16-bit integers where rondo reads [-1, 1].
  float sample_scale = 32768;

  int FrameLength() const;  // in samples
  int FrameShift() const;
  int Bins() const { return mel_bins + (use_energy ? 1 : 0); }
  void Validate() const;  // throws naming the field
  bool operator==(const FbankOptions&) const = default;
};

class Fbank {
 public:
  explicit Fbank(const FbankOptions& options);
  ~Fbank();
  const FbankOptions& options() const { return options_; }
  // Frames that so many samples give.
  int64_t FrameCount(int64_t samples) const;
  Features Compute(std::span<const float> samples) const;

 private:
  friend class FbankStream;
  struct Tables;
  // One frame's window of samples [FrameLength()] to its values [Bins()].
  void ComputeFrame(std::span<const float> window, std::vector<double>& scratch, float* out) const;
  FbankOptions options_;
  std::unique_ptr<const Tables> tables_;
};

class FbankStream {
 public:
  explicit FbankStream(const Fbank& fbank) : fbank_(&fbank) {}
  // Appends the frames that `samples` complete; `out->bins` is set.
  void Push(std::span<const float> samples, Features* out);
  // Appends those that only the end of the signal decides. Starts anew afterwards.
  void Finish(Features* out);

 private:
  void Emit(bool finished, Features* out);
  const Fbank* fbank_;
  std::vector<float> pending_;  // samples from first_ on
  int64_t first_ = 0;
  int64_t received_ = 0;
  int64_t next_frame_ = 0;
  std::vector<float> window_;
  std::vector<double> scratch_;
};

// Whisper's log-mel spectrogram of one window: the samples at 16 kHz are filled up with zeros (or
// cut) to `seconds`. Hann windows of 400, hop 160, Slaney's mel scale, log10 limited to 8 below the
// window's maximum (Radford et al. 2022, and OpenAI's code).
class WhisperFeatures {
 public:
  static constexpr int kSampleRate = 16000;
  static constexpr int kHop = 160;
  explicit WhisperFeatures(int mel_bins, int seconds = 30);
  ~WhisperFeatures();
  int64_t window_samples() const { return samples_; }
  int64_t frames() const { return samples_ / kHop; }
  int bins() const { return bins_; }
  // [frames, bins]: transformers' WhisperFeatureExtractor gives its transpose.
  Features Compute(std::span<const float> samples) const;
  // The same into memory of the caller's, values [frames() * bins()].
  void Compute(std::span<const float> samples, std::span<float> values) const;

 private:
  struct Tables;
  int64_t samples_;
  int bins_;
  std::unique_ptr<const Tables> tables_;
};

// Mean and variance normalisation.
struct CmvnOptions {
  bool mean = true;
  bool variance = true;
  bool operator==(const CmvnOptions&) const = default;
};

// Each bin over the frames of one utterance; a variance below 1e-10 counts as that.
void NormalizeUtterance(const CmvnOptions& options, Features* features);

// Sums over a whole corpus, in double.
struct CmvnStatistics {
  int64_t frames = 0;
  std::vector<double> sum = {}, sum_squares = {};  // [bins]

  void Add(const Features& features);  // throws when the number of bins differs
  // As JSON {"frames": …, "sum": […], "sum_squares": […]}.
  void Save(const std::string& path) const;
  static CmvnStatistics Load(const std::string& path);
};

// Normalisation with the statistics of a corpus: (x - shift) · scale.
struct GlobalCmvn {
  std::vector<float> shift = {}, scale = {};  // [bins]
  GlobalCmvn() = default;
  GlobalCmvn(const CmvnStatistics& statistics, const CmvnOptions& options);
  void Apply(Features* features) const;  // throws when the number of bins differs
};

// Masks of SpecAugment (Park et al. 2019), without time warping. Widths are uniform from 0 to the
// limit. Masked values become `value`: 0 is the mean of normalised features.
struct SpecAugmentOptions {
  int frequency_masks = 2;
  int max_frequency_width = 10;  // bins
  int time_masks = 2;
  int max_time_width = 50;       // frames
  float max_time_share = 0.25f;  // and at most this share of the utterance
  float value = 0;
  void Validate() const;  // throws naming the field
  bool operator==(const SpecAugmentOptions&) const = default;
};

// The same masks for the same seed and size, on every machine.
void SpecAugment(const SpecAugmentOptions& options, uint64_t seed, Features* features);

// One of `factors` (of ChangeSpeed), chosen by the seed.
double PickSpeed(std::span<const double> factors, uint64_t seed);

}  // namespace rondo
