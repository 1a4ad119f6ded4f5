#include "kernels/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace rondo {
namespace {

using Frequencies = std::vector<double>;

Frequencies Geometric(double theta, int rotary_dim) {
  Frequencies frequencies(static_cast<size_t>(rotary_dim / 2));
  for (size_t i = 0; i < frequencies.size(); ++i) {
    frequencies[i] = std::pow(theta, -2.0 * static_cast<double>(i) / rotary_dim);
  }
  return frequencies;
}

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

// As ScaleLlama3, with a blend that is linear in the dimension instead of the turns.
void ScaleYarn(const RopeScaling& scaling, double theta, int rotary_dim, Frequencies* frequencies) {
  const auto dimension = [&](double turns) {
    const double ratio = scaling.original_max_positions / (turns * 2 * std::numbers::pi);
    return rotary_dim * std::log(ratio) / (2 * std::log(theta));
  };
  double low = dimension(scaling.beta_fast), high = dimension(scaling.beta_slow);
  if (scaling.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, rotary_dim - 1.0);
  if (low == high) high += 0.001;
  for (size_t i = 0; i < frequencies->size(); ++i) {
    const double ramp = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
    double& frequency = (*frequencies)[i];
    frequency = frequency / scaling.factor * ramp + frequency * (1 - ramp);
  }
}

// Texts longer than the original get a larger theta.
double DynamicTheta(const RopeScaling& scaling, double theta, int rotary_dim, int length) {
  const double ratio = std::max(1.0, double(length) / scaling.original_max_positions);
  const double stretch = scaling.factor * ratio - (scaling.factor - 1);
  return theta * std::pow(stretch, rotary_dim / (rotary_dim - 2.0));
}

Frequencies Scaled(const RopeScaling& scaling, double theta, int rotary_dim, int length) {
  if (scaling.kind == RopeScalingKind::kDynamic) {
    theta = DynamicTheta(scaling, theta, rotary_dim, length);
  }
  Frequencies frequencies = Geometric(theta, rotary_dim);
  const bool is_long = length > scaling.original_max_positions;
  const std::vector<float>& divisors = is_long ? scaling.long_factors : scaling.short_factors;
  switch (scaling.kind) {
    case RopeScalingKind::kNone:
    case RopeScalingKind::kDynamic:
      break;
    case RopeScalingKind::kLinear:
      for (double& frequency : frequencies) frequency /= scaling.factor;
      break;
    case RopeScalingKind::kLlama3:
      for (double& frequency : frequencies) frequency = ScaleLlama3(frequency, scaling);
      break;
    case RopeScalingKind::kYarn:
      ScaleYarn(scaling, theta, rotary_dim, &frequencies);
      break;
    case RopeScalingKind::kLongRope:
      for (size_t i = 0; i < frequencies.size(); ++i) frequencies[i] /= divisors[i];
      break;
  }
  return frequencies;
}

bool HasOwnTheta(const ModelConfig& config, bool local) {
  return local && config.rope_local_theta > 0;
}

}  // namespace

std::vector<float> RopeFrequencies(const ModelConfig& config, bool local, int length) {
  const Frequencies frequencies =
      HasOwnTheta(config, local)
          ? Geometric(config.rope_local_theta, config.rotary_dim)
          : Scaled(config.rope_scaling, config.rope_theta, config.rotary_dim, length);
  return {frequencies.begin(), frequencies.end()};
}

std::vector<float> RopeAngles(std::span<const int> positions, std::span<const float> frequencies,
                              float scale) {
  std::vector<float> angles(positions.size() * 2 * frequencies.size());
  float* out = angles.data();
  for (const int position : positions) {
    for (size_t i = 0; i < frequencies.size(); ++i) {
      // In f32 as the reference implementations do: at far positions the rounding is visible.
      const float angle = static_cast<float>(position) * frequencies[i];
      out[i] = std::cos(angle) * scale;
      out[frequencies.size() + i] = std::sin(angle) * scale;
    }
    out += 2 * frequencies.size();
  }
  return angles;
}

Rope::Rope(const ModelConfig& config, bool local) {
  if (config.positions != PositionKind::kRope) return;
  frequencies_ = RopeFrequencies(config, local);
  if (HasOwnTheta(config, local)) return;
  scale_ = config.rope_scaling.attention_factor;
  if (!config.rope_scaling.DependsOnLength()) return;
  of_length_ = [scaling = config.rope_scaling, theta = config.rope_theta,
                rotary_dim = config.rotary_dim](int length) {
    const Frequencies frequencies = Scaled(scaling, theta, rotary_dim, length);
    return std::vector<float>(frequencies.begin(), frequencies.end());
  };
}

std::vector<float> Rope::Angles(std::span<const int> positions,
                                std::span<const int> lengths) const {
  if (!of_length_) return RopeAngles(positions, frequencies_, scale_);
  std::vector<float> all;
  for (size_t begin = 0; begin < positions.size();) {
    size_t end = begin + 1;
    while (end < positions.size() && lengths[end] == lengths[begin]) ++end;
    const std::vector<float> rows =
        RopeAngles(positions.subspan(begin, end - begin), of_length_(lengths[begin]), scale_);
    all.insert(all.end(), rows.begin(), rows.end());
    begin = end;
  }
  return all;
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
