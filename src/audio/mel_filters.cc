#include "audio/mel_filters.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace rondo {
namespace {

double KaldiMel(double hertz) { return 1127 * std::log1p(hertz / 700); }

// Slaney's Auditory Toolbox: 3 mels a 200 Hz up to 1 kHz, then 27 mels a factor of 6.4.
constexpr double kLinear = 200.0 / 3;
constexpr double kBreak = 1000;
double SlaneyHertz(double mel) {
  const double break_mel = kBreak / kLinear;
  if (mel < break_mel) return mel * kLinear;
  return kBreak * std::exp((mel - break_mel) * std::log(6.4) / 27);
}
double SlaneyMel(double hertz) {
  if (hertz < kBreak) return hertz / kLinear;
  return kBreak / kLinear + std::log(hertz / kBreak) * 27 / std::log(6.4);
}

double Triangle(double x, double left, double centre, double right) {
  return std::max(0.0, std::min((x - left) / (centre - left), (right - x) / (right - centre)));
}

}  // namespace

MelFilters MelFilters::Kaldi(int bins, size_t fft_size, double sample_rate, double low,
                             double high) {
  MelFilters filters;
  const double first = KaldiMel(low), step = (KaldiMel(high) - first) / (bins + 1);
  for (int b = 0; b < bins; ++b) {
    const double left = first + b * step;
    std::vector<double> dense(fft_size / 2);
    for (size_t i = 0; i < dense.size(); ++i) {
      const double mel =
          KaldiMel(sample_rate / static_cast<double>(fft_size) * static_cast<double>(i));
      dense[i] = Triangle(mel, left, left + step, left + 2 * step);
    }
    filters.Add(std::move(dense));
  }
  return filters;
}

MelFilters MelFilters::Slaney(int bins, size_t fft_size, double sample_rate) {
  MelFilters filters;
  const double top = SlaneyMel(sample_rate / 2);
  const auto edge = [&](int i) { return SlaneyHertz(top * i / (bins + 1)); };
  for (int b = 0; b < bins; ++b) {
    const double left = edge(b), centre = edge(b + 1), right = edge(b + 2);
    std::vector<double> dense(fft_size / 2 + 1);
    for (size_t i = 0; i < dense.size(); ++i) {
      const double hertz = sample_rate / static_cast<double>(fft_size) * static_cast<double>(i);
      dense[i] = Triangle(hertz, left, centre, right) * 2 / (right - left);
    }
    filters.Add(std::move(dense));
  }
  return filters;
}

void MelFilters::Add(std::vector<double> dense) {
  size_t first = 0, end = dense.size();
  while (first < end && dense[first] == 0) ++first;
  while (end > first && dense[end - 1] == 0) --end;
  filters_.push_back({first,
                      {dense.begin() + static_cast<ptrdiff_t>(first),
                       dense.begin() + static_cast<ptrdiff_t>(end)}});
}

void MelFilters::Apply(std::span<const double> power, std::span<double> energies) const {
  for (size_t b = 0; b < filters_.size(); ++b) {
    const Filter& filter = filters_[b];
    double sum = 0;
    for (size_t i = 0; i < filter.weights.size(); ++i) {
      sum += filter.weights[i] * power[filter.first + i];
    }
    energies[b] = sum;
  }
}

}  // namespace rondo
