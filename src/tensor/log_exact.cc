#include "tensor/log_exact.h"

#include <algorithm>
#include <cmath>

namespace rondo {
namespace {

constexpr int kLength = 32;

bool HoldsAll(const LogFormat& format, const float* x, float d, int offset) {
  const float center = format.center() - static_cast<float>(offset) / 32;
  for (int i = 0; i < kLength; ++i) {
    const float code =
        std::clamp(std::nearbyint(x[i] / d + center), 0.0f, static_cast<float>(format.highest()));
    if (LogValue(format, d, static_cast<int>(code), offset) != x[i]) return false;
  }
  return true;
}

// f(scale code) for each scale of which the span between the extremes is a whole number of steps,
// as far as f32 tells, until f returns true.
template <typename F>
bool WithSpans(const LogFormat& format, float low, float high, const F& f) {
  constexpr float kRounding = 4e-6f;  // of values 8 steps from zero, with a span of one
  const float span = format.offset ? high - low : 2 * std::max(-low, high);
  for (int n = 1; n <= format.highest(); n += format.offset ? 1 : 2) {
    const uint8_t code = NearestLogScale(span / static_cast<float>(n));
    const float steps = kLogScales[code] * static_cast<float>(n);
    if (code != 0 && std::abs(steps - span) <= kRounding * span && f(code)) return true;
  }
  return false;
}

// An offset that brings one of the codes to `level`, in 1/32 steps: the largest, which leaves most
// codes above.
int OffsetOfLevel(const LogFormat& format, int level) {
  int offset = level + 16 * format.highest();
  while (offset > 127) offset -= 32;
  return offset;
}

// The scale and level m / 32 that come nearest to a value that all elements have.
void NearestConstant(const LogFormat& format, float value, uint8_t* scale, int* offset) {
  const float size = std::abs(value);
  float least = INFINITY;
  for (int m = 1; m <= 16 * format.highest() + 127; ++m) {
    const float part = static_cast<float>(m) / 32;
    const uint8_t code = NearestLogScale(size / part);
    const float error = std::abs(kLogScales[code] * part - size);
    if (code == 0 || !(error < least)) continue;
    least = error;
    *scale = code;
    *offset = OffsetOfLevel(format, value < 0 ? -m : m);
  }
}

}  // namespace

bool MayBeExact(const LogFormat& format, float low, float high) {
  return WithSpans(format, low, high, [](uint8_t) { return true; }) ||
         (format.offset && low == high && low != 0);
}

bool FindExact(const LogFormat& format, const float* x, uint8_t* scale, int* offset) {
  const auto [low, high] = std::minmax_element(x, x + kLength);
  if (format.offset && *low == *high) {
    NearestConstant(format, *low, scale, offset);
    return true;
  }
  return WithSpans(format, *low, *high, [&, first = *low](uint8_t code) {
    const float d = kLogScales[code];
    int found = 0;
    if (format.offset) {
      found = OffsetOfLevel(
          format, static_cast<int>(std::lround(std::clamp(32 * first / d, -1000.0f, 1000.0f))));
      if (found < -128) return false;
    }
    if (!HoldsAll(format, x, d, found)) return false;
    *scale = code;
    *offset = found;
    return true;
  });
}

}  // namespace rondo
