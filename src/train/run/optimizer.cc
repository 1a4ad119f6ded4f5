#include "train/run/optimizer.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "kernels/grad/row_kernels.h"
#include "train/model/fused.h"

namespace rondo {

Optimizer::Optimizer(Params& params, const OptimizerOptions& options, const Ranks& ranks)
    : params_(params),
      options_(options),
      ranks_(ranks),
      share_(ranks.ShareOf(params.flat().numel())) {
  MakePieces();
  m_ = at::zeros({share_.count}, params.flat().options());
  v_ = at::zeros_like(m_);
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
  if (params_.device().is_cpu()) return;
  const int64_t all = params_.flat().numel();
  std::vector<at::Tensor> made;
  for (const int64_t size : {share_.count, share_.count, share_.count, all}) {
    made.push_back(at::zeros({size}, at::kFloat));
  }
  const auto fill = [&](size_t i, int64_t at, const Piece& piece, float value) {
    std::fill_n(made[i].mutable_data_ptr<float>() + at, piece.count, value);
  };
  for (const Piece& piece : mine_) {
    const int64_t at = piece.begin - share_.begin;
    fill(0, at, piece, piece.lr_scale);
    fill(1, at, piece, static_cast<float>(piece.born));
    fill(2, at, piece, piece.decay);
  }
  for (const Piece& piece : pieces_) fill(3, piece.begin, piece, !piece.apart);
  for (at::Tensor& tensor : made) tensor = tensor.to(params_.device());
  rate_ = made[0], births_ = made[1], decays_ = made[2], clipped_ = made[3];
}

void Optimizer::StepWhole(double lr, double clip) {
  const at::NoGradGuard no_grad;
  const auto mine = [&](const at::Tensor& all) {
    return all.narrow(0, share_.begin, share_.count);
  };
  at::Tensor weight = mine(params_.flat());
  const at::Tensor factor = mine(clipped_) * (clip - 1) + 1;
  const at::Tensor gradient = mine(params_.grad()) * factor;
  const at::Tensor updates = static_cast<double>(updates_) - births_;
  const auto correction = [&](double beta) { return 1 - at::exp(updates * std::log(beta)); };
  m_.mul_(options_.beta1).add_(gradient, 1 - options_.beta1);
  v_.mul_(options_.beta2).addcmul_(gradient, gradient, 1 - options_.beta2);
  const at::Tensor root = (v_ / correction(options_.beta2)).sqrt_().add_(options_.eps);
  const at::Tensor rate = rate_ * lr;
  weight.sub_(weight * rate * decays_ * options_.weight_decay);
  weight.sub_(m_ / correction(options_.beta1) / root * rate);
}

double Optimizer::GradNorm() const {
  if (!params_.device().is_cpu()) {
    const at::NoGradGuard no_grad;
    return (params_.grad() * clipped_).square().to(at::kDouble).sum().sqrt().cpu().item<double>();
  }
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

void Optimizer::StepPieces(double lr, double clip) {
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
}

void Optimizer::Step(double lr, double norm) {
  ++updates_;
  const double clip = options_.clip > 0 && norm > options_.clip ? options_.clip / norm : 1;
  if (params_.device().is_cpu()) {
    StepPieces(lr, clip);
  } else {
    StepWhole(lr, clip);
  }
  ranks_.GatherShares(params_.flat());
  params_.Round();
  if (average_.defined()) UpdateAverage();
}

void Optimizer::UpdateAverage() {
  if (!params_.device().is_cpu()) {
    average_.lerp_(params_.flat(), 1 - options_.ema);
    return;
  }
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
  if (params_.device().is_cpu()) {
    float* weight = params_.flat().mutable_data_ptr<float>();
    std::swap_ranges(weight, weight + params_.flat().numel(), average_.mutable_data_ptr<float>());
  } else {
    const at::NoGradGuard no_grad;
    const at::Tensor weight = params_.flat().clone();
    params_.flat().copy_(average_);
    average_.copy_(weight);
  }
  params_.Round();
}

}  // namespace rondo
