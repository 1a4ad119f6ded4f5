// Triangular filters on a mel scale, stored without their zeros.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace rondo {

class MelFilters {
 public:
  // Kaldi's: triangles in mel = 1127 ln(1 + f / 700) between `low` and `high` Hz, over the first
  // fft_size / 2 bins of the spectrum (the last bin is left out).
  static MelFilters Kaldi(int bins, size_t fft_size, double sample_rate, double low, double high);
  // Slaney's, as librosa and Whisper: linear to 1 kHz and logarithmic above, triangles in Hz of
  // equal area, from 0 to half the sampling rate.
  static MelFilters Slaney(int bins, size_t fft_size, double sample_rate);

  size_t bins() const { return filters_.size(); }
  // energies[bins] = filters · power.
  void Apply(std::span<const double> power, std::span<double> energies) const;

 private:
  struct Filter {
    size_t first = 0;
    std::vector<double> weights;
  };
  void Add(std::vector<double> dense);
  std::vector<Filter> filters_;
};

}  // namespace rondo
