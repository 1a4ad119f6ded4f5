// Gradients against finite differences of the loss.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "base/rng.h"
#include "train/model/params.h"

namespace rondo {

// `loss` adds the gradients of the present values and returns the loss. For each trained tensor
// that `which` names (null: all) the derivative of the loss along a direction is taken twice: from
// the gradient, and from the loss at four points around. Losses are near 4 and carry some hundred
// roundings of 2^-24, about 2e-6 in all, which a difference divides by the step; fourth-order
// differences keep the curvature of such a small, steep network below 2 %, with a shorter step for
// losses that curve more. Returns how many derivatives rise well above that noise.
inline int ExpectDerivatives(Params& params, const std::function<double()>& loss,
                             const std::function<bool(const Param&)>& which = nullptr,
                             double step_length = 1.2e-3) {
  params.ZeroGrad();
  loss();
  const at::Tensor gradient = params.grad().clone();
  Rng rng(5);
  int compared = 0;
  for (const Param* param : params.List()) {
    if (!param->trained() || (which != nullptr && !which(*param))) continue;
    const at::Tensor value = Params::Part(params.flat(), *param);
    const at::Tensor slope = Params::Part(gradient, *param);
    const double size = slope.norm().item<double>();
    // Along the gradient and a random direction at once: a wrong part of either shows.
    at::Tensor direction = at::empty_like(slope);
    float* d = direction.mutable_data_ptr<float>();
    for (int64_t i = 0; i < direction.numel(); ++i) d[i] = static_cast<float>(rng.Normal());
    direction.div_(direction.norm());
    if (size > 0) direction.add_(slope / size);
    if (direction.numel() == 1) direction.fill_(1);  // the two may cancel
    const double expected = (slope * direction).sum().item<double>();
    const at::Tensor before = value.clone();
    const double step = step_length * std::max(1.0, std::sqrt(before.norm().item<double>()));
    const auto at = [&](double factor) {
      value.copy_(before + direction * (factor * step));
      return loss();
    };
    // Fourth-order central differences.
    const double near = at(1) - at(-1), far = at(2) - at(-2);
    value.copy_(before);
    const double measured = (8 * near - far) / (12 * step);
    const double noise = 4e-6 / step;
    EXPECT_NEAR(measured, expected, 0.02 * std::abs(expected) + noise) << param->name;
    compared += std::abs(expected) > 10 * noise;
  }
  return compared;
}

}  // namespace rondo
