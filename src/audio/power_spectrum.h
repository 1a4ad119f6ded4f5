// |FFT|² of real windows, in double: features then differ from their definition by the rounding of
// their input and output alone.
#pragma once

#include <complex>
#include <cstddef>
#include <kissfft.hh>
#include <span>
#include <vector>

namespace rondo {

// Immutable; any number of threads may use it.
class PowerSpectrum {
 public:
  // `size` is even.
  explicit PowerSpectrum(size_t size) : size_(size), fft_(size / 2, false) {}
  size_t bins() const { return size_ / 2 + 1; }

  // `samples` [size] is overwritten by the power [bins()] at its beginning. `scratch` keeps memory
  // between calls.
  void Compute(std::span<double> samples, std::vector<std::complex<double>>& scratch) const {
    scratch.resize(size_ / 2);
    fft_.transform_real(samples.data(), scratch.data());
    // kissfft packs the two real values into the first element.
    const double first = scratch[0].real(), last = scratch[0].imag();
    for (size_t i = 1; i < size_ / 2; ++i) samples[i] = std::norm(scratch[i]);
    samples[0] = first * first;
    samples[size_ / 2] = last * last;
  }

 private:
  size_t size_;
  kissfft<double> fft_;
};

}  // namespace rondo
