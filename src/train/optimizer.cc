#include "train/optimizer.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "train/fused.h"
#include "train/row_kernels.h"

namespace rondo {

Optimizer::Optimizer(Params& params, const OptimizerOptions& options)
    : params_(params), options_(options) {
  constexpr int64_t kPiece = 1 << 16;
  for (const Param* param : params.List()) {
    if (!param->trained()) continue;
    for (int64_t at = 0; at < param->elements; at += kPiece) {
      pieces_.push_back({param->offset + at, std::min(kPiece, param->elements - at), param->decay,
                         param->apart, param->lr_scale});
    }
  }
  m = at::zeros_like(params.flat());
  v = at::zeros_like(params.flat());
  if (options.ema > 0) average = params.flat().clone();
}

double Optimizer::GradNorm() const {
  std::vector<double> squares(pieces_.size());
  const float* grad = params_.grad().const_data_ptr<float>();
  ForParts(static_cast<int64_t>(pieces_.size()), [&](int, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const Piece& piece = pieces_[static_cast<size_t>(i)];
      if (piece.apart) continue;
      squares[static_cast<size_t>(i)] = SumOfSquares(grad + piece.begin, piece.count);
    }
  });
  return std::sqrt(std::accumulate(squares.begin(), squares.end(), 0.0));
}

void Optimizer::Step(double lr, double norm) {
  ++updates;
  const double clip = options_.clip > 0 && norm > options_.clip ? options_.clip / norm : 1;
  const auto n = static_cast<double>(updates);
  const AdamStep common = {.beta1 = static_cast<float>(options_.beta1),
                           .beta2 = static_cast<float>(options_.beta2),
                           .eps = static_cast<float>(options_.eps),
                           .grad_scale = static_cast<float>(clip),
                           .correction1 = static_cast<float>(1 - std::pow(options_.beta1, n)),
                           .correction2 = static_cast<float>(1 - std::pow(options_.beta2, n))};
  const float* grad = params_.grad().const_data_ptr<float>();
  float* weight = params_.flat().mutable_data_ptr<float>();
  float *first = m.mutable_data_ptr<float>(), *second = v.mutable_data_ptr<float>();
  float* mean = average.defined() ? average.mutable_data_ptr<float>() : nullptr;
  ForParts(static_cast<int64_t>(pieces_.size()), [&](int, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const Piece& piece = pieces_[static_cast<size_t>(i)];
      AdamStep step = common;
      step.lr = static_cast<float>(lr) * piece.lr_scale;
      step.weight_decay = piece.decay ? static_cast<float>(options_.weight_decay) : 0;
      if (piece.apart) step.grad_scale = 1;
      const int64_t at = piece.begin;
      AdamW(step, piece.count, grad + at, first + at, second + at, weight + at);
      if (mean != nullptr) {
        MovingAverage(static_cast<float>(options_.ema), piece.count, weight + at, mean + at);
      }
    }
  });
}

void Optimizer::SwapAverage() {
  float* weight = params_.flat().mutable_data_ptr<float>();
  std::swap_ranges(weight, weight + params_.flat().numel(), average.mutable_data_ptr<float>());
}

}  // namespace rondo
