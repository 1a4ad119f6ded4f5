#include "train/optimizer.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "train/fused.h"
#include "train/row_kernels.h"

namespace rondo {

Optimizer::Optimizer(Params& params, const OptimizerOptions& options, const Ranks& ranks)
    : params_(params),
      options_(options),
      ranks_(ranks),
      share_(ranks.ShareOf(params.flat().numel())) {
  MakePieces();
  m_ = at::zeros({share_.count}, at::kFloat);
  v_ = at::zeros({share_.count}, at::kFloat);
  if (options.ema > 0) average_ = params.flat().clone();
}

void Optimizer::MakePieces() {
  constexpr int64_t kPiece = 1 << 16;
  pieces_.clear();
  mine_.clear();
  for (const Param* param : params_.List()) {
    if (!param->trained()) continue;
    const auto born = born_.find(param->name);
    const int64_t updates = born == born_.end() ? 0 : born->second;
    for (int64_t at = 0; at < param->elements; at += kPiece) {
      pieces_.push_back({param->offset + at, std::min(kPiece, param->elements - at), param->decay,
                         param->apart, param->lr_scale, updates});
    }
  }
  for (Piece piece : pieces_) {
    const int64_t end = std::min(piece.begin + piece.count, share_.end());
    piece.begin = std::max(piece.begin, share_.begin);
    piece.count = end - piece.begin;
    if (piece.count > 0) mine_.push_back(piece);
  }
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
  ++updates_;
  const double clip = options_.clip > 0 && norm > options_.clip ? options_.clip / norm : 1;
  const AdamStep common = {.beta1 = static_cast<float>(options_.beta1),
                           .beta2 = static_cast<float>(options_.beta2),
                           .eps = static_cast<float>(options_.eps),
                           .grad_scale = static_cast<float>(clip)};
  const float* grad = params_.grad().const_data_ptr<float>();
  float* weight = params_.flat().mutable_data_ptr<float>();
  float *first = m_.mutable_data_ptr<float>(), *second = v_.mutable_data_ptr<float>();
  ForParts(static_cast<int64_t>(mine_.size()), [&](int, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const Piece& piece = mine_[static_cast<size_t>(i)];
      AdamStep step = common;
      const auto n = static_cast<double>(updates_ - piece.born);
      step.correction1 = static_cast<float>(1 - std::pow(options_.beta1, n));
      step.correction2 = static_cast<float>(1 - std::pow(options_.beta2, n));
      step.lr = static_cast<float>(lr) * piece.lr_scale;
      step.weight_decay = piece.decay ? static_cast<float>(options_.weight_decay) : 0;
      if (piece.apart) step.grad_scale = 1;
      const int64_t at = piece.begin, moment = at - share_.begin;
      AdamW(step, piece.count, grad + at, first + moment, second + moment, weight + at);
    }
  });
  ranks_.GatherShares(params_.flat());
  if (average_.defined()) UpdateAverage();
}

void Optimizer::UpdateAverage() {
  const float* weight = params_.flat().const_data_ptr<float>();
  float* mean = average_.mutable_data_ptr<float>();
  ForParts(static_cast<int64_t>(pieces_.size()), [&](int, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const Piece& piece = pieces_[static_cast<size_t>(i)];
      MovingAverage(static_cast<float>(options_.ema), piece.count, weight + piece.begin,
                    mean + piece.begin);
    }
  });
}

OptimizerState Optimizer::Collect() const {
  const int64_t elements = params_.flat().numel();
  return {.m = ranks_.CollectAtFirst(m_, elements),
          .v = ranks_.CollectAtFirst(v_, elements),
          .average = average_,
          .updates = updates_,
          .born = born_};
}

int64_t Optimizer::bytes() const {
  const int64_t average = average_.defined() ? average_.numel() : 0;
  return (m_.numel() + v_.numel() + average) * static_cast<int64_t>(sizeof(float));
}

void Optimizer::Retie(const std::vector<ParamMove>& moves) {
  const at::NoGradGuard no_grad;
  // One array after the other, so that at most one exists twice.
  const auto move_array = [&](at::Tensor& array, at::Tensor moved) {
    for (const ParamMove& move : moves) {
      if (move.old_offset < 0) continue;
      moved.narrow(0, move.offset, move.elements)
          .copy_(array.narrow(0, move.old_offset, move.elements));
    }
    array = std::move(moved);
  };
  share_ = ranks_.ShareOf(params_.flat().numel());
  move_array(m_, at::zeros_like(params_.flat()));
  move_array(v_, at::zeros_like(params_.flat()));
  if (average_.defined()) move_array(average_, params_.flat().clone());
  std::map<std::string, int64_t> born;
  for (const ParamMove& move : moves) {
    const auto old = born_.find(move.from);
    const int64_t updates = move.old_offset < 0 ? updates_ : old == born_.end() ? 0 : old->second;
    if (updates > 0) born[move.to] = updates;
  }
  born_ = std::move(born);
  MakePieces();
}

void Optimizer::Restore(const OptimizerState& state) {
  m_.copy_(state.m.narrow(0, share_.begin, share_.count));
  v_.copy_(state.v.narrow(0, share_.begin, share_.count));
  if (average_.defined()) average_.copy_(state.average);
  updates_ = state.updates;
  born_ = state.born;
  MakePieces();
}

void Optimizer::SwapAverage() {
  float* weight = params_.flat().mutable_data_ptr<float>();
  std::swap_ranges(weight, weight + params_.flat().numel(), average_.mutable_data_ptr<float>());
}

}  // namespace rondo
