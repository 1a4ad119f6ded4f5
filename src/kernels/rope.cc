#include "kernels/rope.h"

#include <cmath>
#include <numbers>

namespace rondo {
namespace {

// Long wavelengths are stretched by `factor`, short ones kept, those between blended.
double ScaleLlama3(double frequency, const RopeScaling& scaling) {
  const double context = scaling.original_max_positions;
  const double turns = context * frequency / (2 * std::numbers::pi);
  if (turns < scaling.low_freq_factor) return frequency / scaling.factor;
  if (turns > scaling.high_freq_factor) return frequency;
  const double smooth = (turns - scaling.low_freq_factor) /
                        (double{scaling.high_freq_factor} - scaling.low_freq_factor);
  return (1 - smooth) * frequency / scaling.factor + smooth * frequency;
}

}  // namespace

std::vector<float> RopeFrequencies(const ModelConfig& config, bool local) {
  const bool own_theta = local && config.rope_local_theta > 0;
  const double theta = own_theta ? config.rope_local_theta : config.rope_theta;
  std::vector<float> frequencies(static_cast<size_t>(config.rotary_dim / 2));
  for (size_t i = 0; i < frequencies.size(); ++i) {
    double frequency = std::pow(theta, -2.0 * static_cast<double>(i) / config.rotary_dim);
    if (!own_theta) {
      switch (config.rope_scaling.kind) {
        case RopeScalingKind::kNone:
          break;
        case RopeScalingKind::kLinear:
          frequency /= config.rope_scaling.factor;
          break;
        case RopeScalingKind::kLlama3:
          frequency = ScaleLlama3(frequency, config.rope_scaling);
          break;
      }
    }
    frequencies[i] = static_cast<float>(frequency);
  }
  return frequencies;
}

std::vector<float> RopeAngles(std::span<const int> positions, std::span<const float> frequencies) {
  std::vector<float> angles(positions.size() * 2 * frequencies.size());
  float* out = angles.data();
  for (const int position : positions) {
    for (size_t i = 0; i < frequencies.size(); ++i) {
      // In f32 as the reference implementations do: at far positions the rounding is visible.
      const float angle = static_cast<float>(position) * frequencies[i];
      out[i] = std::cos(angle);
      out[frequencies.size() + i] = std::sin(angle);
    }
    out += 2 * frequencies.size();
  }
  return angles;
}

void ApplyRope(float* x, int heads, int head_dim, int rotary_dim, const float* angles) {
  const int half = rotary_dim / 2;
  const float* cosines = angles;
  const float* sines = angles + half;
  for (int h = 0; h < heads; ++h, x += head_dim) {
    for (int i = 0; i < half; ++i) {
      const float a = x[i], b = x[i + half];
      x[i] = a * cosines[i] - b * sines[i];
      x[i + half] = b * cosines[i] + a * sines[i];
    }
  }
}

}  // namespace rondo
