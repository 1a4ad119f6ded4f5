#include <algorithm>
#include <cmath>

#include "base/rng.h"
#include "base/strings.h"
#include "rondo/audio_features.h"
#include "rondo/error.h"

namespace rondo {
namespace {

struct Mask {
  int64_t begin, end;
};

// A width up to `limit`, then a place for it.
Mask DrawMask(int64_t limit, int64_t size, Rng& rng) {
  const auto below = [&rng](int64_t count) {
    return std::min(static_cast<int64_t>(rng.Uniform() * static_cast<double>(count)), count - 1);
  };
  const int64_t width = below(std::min(limit, size) + 1);
  const int64_t begin = below(size - width + 1);
  return {begin, begin + width};
}

}  // namespace

void SpecAugmentOptions::Validate() const {
  const auto check = [](bool good, const char* field, double got, const char* expected) {
    if (good) return;
    throw Error({.function = "SpecAugmentOptions",
                 .problem = ShortestNumber(got),
                 .expected = expected,
                 .file = {},
                 .field = field});
  };
  check(frequency_masks >= 0, "frequency_masks", frequency_masks, "0 or more");
  check(max_frequency_width >= 0, "max_frequency_width", max_frequency_width, "0 or more");
  check(time_masks >= 0, "time_masks", time_masks, "0 or more");
  check(max_time_width >= 0, "max_time_width", max_time_width, "0 or more");
  check(max_time_share >= 0 && max_time_share <= 1, "max_time_share", max_time_share, "0 to 1");
  check(std::isfinite(value), "value", value, "a finite number");
}

void SpecAugment(const SpecAugmentOptions& options, uint64_t seed, Features* features) {
  options.Validate();
  const int64_t frames = features->frames();
  if (frames == 0) return;
  Rng rng(seed);
  for (int i = 0; i < options.frequency_masks; ++i) {
    const Mask mask = DrawMask(options.max_frequency_width, features->bins, rng);
    for (int64_t f = 0; f < frames; ++f) {
      const std::span<float> row = features->Row(f);
      std::fill(row.begin() + mask.begin, row.begin() + mask.end, options.value);
    }
  }
  const double share = std::floor(double{options.max_time_share} * static_cast<double>(frames));
  const int64_t limit = std::min<int64_t>(options.max_time_width, static_cast<int64_t>(share));
  for (int i = 0; i < options.time_masks; ++i) {
    const Mask mask = DrawMask(limit, frames, rng);
    std::fill(features->values.begin() + mask.begin * features->bins,
              features->values.begin() + mask.end * features->bins, options.value);
  }
}

double PickSpeed(std::span<const double> factors, uint64_t seed) {
  if (factors.empty()) {
    throw Error({.function = "PickSpeed", .problem = "no factors", .expected = "one or more"});
  }
  const double at = Rng(seed).Uniform() * static_cast<double>(factors.size());
  return factors[std::min(static_cast<size_t>(at), factors.size() - 1)];
}

}  // namespace rondo
