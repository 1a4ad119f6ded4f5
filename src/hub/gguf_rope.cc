#include "hub/gguf_rope.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>

namespace rondo {
namespace {

// Turns of each frequency per position, [rotary_dim / 2]; a wavelength is its inverse.
std::vector<double> TurnsPerPosition(int rotary_dim, float theta) {
  std::vector<double> turns(static_cast<size_t>(rotary_dim / 2));
  for (size_t i = 0; i < turns.size(); ++i) {
    const double exponent = 2.0 * static_cast<double>(i) / rotary_dim;
    turns[i] = std::pow(static_cast<double>(theta), -exponent) / (2 * std::numbers::pi);
  }
  return turns;
}

bool Reproduces(const RopeScaling& scaling, std::span<const float> factors, int rotary_dim,
                float theta) {
  // Writers compute in f32 with theta to a power: a few units in the last place, which the blend's
  // slope (at most `factor` per unit of its argument) can multiply.
  const float tolerance = 1e-5f * std::max(1.0f, scaling.factor);
  const std::vector<float> expected = Llama3Factors(scaling, rotary_dim, theta);
  for (size_t i = 0; i < expected.size(); ++i) {
    if (!(std::abs(factors[i] - expected[i]) <= tolerance * expected[i])) return false;
  }
  return true;
}

// The blend is linear in turns: smooth = slope · turns - offset. Least squares over the entries
// that are neither 1 nor the full factor; nothing when fewer than two are left.
std::optional<std::array<double, 2>> FitBlend(std::span<const float> factors,
                                              std::span<const double> turns, double factor) {
  double n = 0, sx = 0, sy = 0, sxx = 0, sxy = 0;
  for (size_t i = 0; i < factors.size(); ++i) {
    const double f = factors[i];
    if (f <= 1 || f >= factor) continue;
    const double smooth = (1 / f - 1 / factor) / (1 - 1 / factor);
    n += 1;
    sx += turns[i];
    sy += smooth;
    sxx += turns[i] * turns[i];
    sxy += turns[i] * smooth;
  }
  const double spread = n * sxx - sx * sx;
  if (n < 2 || !(spread > 0)) return std::nullopt;
  const double slope = (n * sxy - sx * sy) / spread;
  const double offset = (slope * sx - sy) / n;
  if (!(slope > 0) || !(offset > 0)) return std::nullopt;
  return std::array{slope, offset};
}

// slope = original / (high - low), offset = low / (high - low).
std::optional<RopeScaling> ScalingFromFit(const std::array<double, 2>& fit, float factor,
                                          int original_max_positions) {
  const auto [slope, offset] = fit;
  const double width = original_max_positions > 0 ? original_max_positions / slope : 1 / offset;
  const auto round_small = [](double value) {  // published factors are short decimals
    return static_cast<float>(std::round(value * 1000) / 1000);
  };
  const double original = std::round(width * slope);
  if (!(original >= 1) || !(original < (1 << 30))) return std::nullopt;
  return RopeScaling{.kind = RopeScalingKind::kLlama3,
                     .factor = factor,
                     .low_freq_factor = round_small(width * offset),
                     .high_freq_factor = round_small(width * (1 + offset)),
                     .original_max_positions = static_cast<int>(original)};
}

}  // namespace

std::vector<int64_t> ToHalfSplit(int heads, int head_dim) {
  std::vector<int64_t> order;
  order.reserve(static_cast<size_t>(heads) * static_cast<size_t>(head_dim));
  for (int64_t head = 0; head < heads; ++head) {
    for (int64_t half = 0; half < 2; ++half) {
      for (int64_t i = 0; i < head_dim / 2; ++i) order.push_back(head * head_dim + 2 * i + half);
    }
  }
  return order;
}

std::vector<int64_t> ToInterleaved(int heads, int head_dim) {
  const std::vector<int64_t> forward = ToHalfSplit(heads, head_dim);
  std::vector<int64_t> inverse(forward.size());
  for (size_t i = 0; i < forward.size(); ++i) {
    inverse[static_cast<size_t>(forward[i])] = static_cast<int64_t>(i);
  }
  return inverse;
}

Tensor Reorder(const Tensor& tensor, std::span<const int64_t> order) {
  if (tensor.shape().size() > 1) return GatherRows(tensor, order);
  const std::vector<float> source = ToF32(tensor);
  std::vector<float> out;
  out.reserve(order.size());
  for (const int64_t from : order) out.push_back(source.at(static_cast<size_t>(from)));
  return Tensor::FromF32({static_cast<int64_t>(out.size())}, std::move(out));
}

std::vector<float> Llama3Factors(const RopeScaling& scaling, int rotary_dim, float theta) {
  std::vector<float> factors;
  for (const double turns : TurnsPerPosition(rotary_dim, theta)) {
    const double smooth = (turns * scaling.original_max_positions - scaling.low_freq_factor) /
                          (double{scaling.high_freq_factor} - scaling.low_freq_factor);
    const double blend = std::clamp(smooth, 0.0, 1.0);
    factors.push_back(static_cast<float>(1 / ((1 - blend) / scaling.factor + blend)));
  }
  return factors;
}

float YarnAttentionFactor(float factor) {
  return factor <= 1 ? 1 : static_cast<float>(0.1 * std::log(double{factor}) + 1);
}

std::optional<RopeScaling> RecoverLlama3(std::span<const float> factors, int rotary_dim,
                                         float theta, int original_max_positions) {
  if (factors.size() != static_cast<size_t>(rotary_dim / 2) || factors.empty()) return std::nullopt;
  const float largest = *std::max_element(factors.begin(), factors.end());
  if (!std::isfinite(largest) || largest < 1) return std::nullopt;
  const std::vector<double> turns = TurnsPerPosition(rotary_dim, theta);
  // A small head may have no wavelength long enough to show the whole factor.
  for (const float factor : {largest, 2.0f, 4.0f, 8.0f, 16.0f, 32.0f, 64.0f}) {
    if (factor < largest) continue;
    RopeScaling usual{.kind = RopeScalingKind::kLlama3, .factor = factor};
    usual.original_max_positions = original_max_positions > 0 ? original_max_positions : 8192;
    if (Reproduces(usual, factors, rotary_dim, theta)) return usual;
    const auto fit = FitBlend(factors, turns, factor);
    if (!fit) continue;
    const auto fitted = ScalingFromFit(*fit, factor, original_max_positions);
    if (fitted && Reproduces(*fitted, factors, rotary_dim, theta)) return fitted;
  }
  return std::nullopt;
}

}  // namespace rondo
