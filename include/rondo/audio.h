// Sound from files, archives and pipes, as mono samples at the rate a model wants.
//
//   AudioStore store;
//   AudioClip clip = store.Read("speech.tar:kathleen-en/a.opus", 16000);   // or a plain file
//
// An audio is named by the path of a file, or by "archive.tar:member". WAV, AIFF, FLAC, Ogg Vorbis,
// Opus and MP3 are read through libsndfile and libmpg123 and resampled through soxr. Channels are
// averaged.
// What to compute from samples: audio_features.h.
//
// Any number of threads may use a store and call the functions; a source or a resampler belongs to
// one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace rondo {

struct AudioClip {
  int sample_rate = 0;
  std::vector<float> samples = {};  // mono, full scale is [-1, 1]
  double seconds() const {
    return sample_rate > 0 ? static_cast<double>(samples.size()) / sample_rate : 0;
  }
};

// Changes the sampling rate of a stream. Results do not depend on how it is cut into pieces.
class Resampler {
 public:
  // Rates in Hz, 1 to 768000; fractions serve to change speed. Equal rates copy.
  Resampler(double from, double to);
  ~Resampler();
  Resampler(const Resampler&) = delete;
  Resampler& operator=(const Resampler&) = delete;

  // Appends to `out` what is certain after `in`.
  void Push(std::span<const float> in, std::vector<float>& out);
  // Appends the rest; the resampler is of no use afterwards.
  void Finish(std::vector<float>& out);

 private:
  struct State;
  std::unique_ptr<State> state_;  // null for equal rates
};

std::vector<float> Resample(std::span<const float> samples, double from, double to);

// Plays `factor` times as fast (tempo and pitch), as sox's "speed": the samples of a clip of the
// same rate.
std::vector<float> ChangeSpeed(std::span<const float> samples, double factor);

// A source of mono samples in pieces; memory does not grow with its length.
class AudioSource {
 public:
  virtual ~AudioSource() = default;
  virtual int sample_rate() const = 0;  // of what Read() gives
  // Fills a part of `out`, at least one sample; 0 at the end. Throws rondo::Error naming the source
  // for damaged data.
  virtual size_t Read(std::span<float> out) = 0;
};

// Decodes `bytes`, which `owner` keeps alive, to mono at `sample_rate` (0: as it is). `name` is for
// errors. Sound that ends early, or whose header does not say how long it is, is read as far as it
// goes, which standard error is told once. Throws for what no decoder knows, damaged data, samples
// that are no numbers, rates and channel counts that make no sense.
std::unique_ptr<AudioSource> DecodeAudio(std::span<const std::byte> bytes,
                                         std::shared_ptr<const void> owner, const std::string& name,
                                         int sample_rate);
// Sound from an open file descriptor. WAV is told by its header, and like bare samples (16 bits,
// little-endian, mono, at `pcm_rate`) it is read as it arrives, as from a microphone; other formats
// are read to their end first. `name` is for errors. Where `stop` is a file descriptor, sound ends
// as soon as something can be read from it.
std::unique_ptr<AudioSource> OpenPipe(int descriptor, const std::string& name, int pcm_rate,
                                      int sample_rate, int stop = -1);

// Opens audio by name and keeps archives mapped, so that members are read in place.
class AudioStore {
 public:
  AudioStore();
  ~AudioStore();
  // Throws rondo::Error naming file and member.
  std::unique_ptr<AudioSource> Open(const std::string& audio, int sample_rate);
  AudioClip Read(const std::string& audio, int sample_rate = 0);
  // Names of the members of an archive, without the archive's own.
  std::vector<std::string> Members(const std::string& archive);

 private:
  struct Archives;
  std::unique_ptr<Archives> archives_;
};

}  // namespace rondo
