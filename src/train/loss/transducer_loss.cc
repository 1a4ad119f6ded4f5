#include "train/loss/transducer_loss.h"

#include <cmath>
#include <limits>
#include <vector>

#include "kernels/log_softmax.h"

namespace rondo {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Variable;
using torch::autograd::variable_list;

constexpr double kNever = -std::numeric_limits<double>::infinity();

// One row's grid: log-probabilities of reaching and of finishing from every point.
class Grid {
 public:
  Grid(const float* blank, const float* label, int64_t positions, int64_t units, int64_t stride)
      : blank_(blank), label_(label), t_(positions), u_(units + 1), stride_(stride) {}

  double Blank(int64_t t, int64_t u) const { return blank_[t * stride_ + u]; }
  double Label(int64_t t, int64_t u) const { return label_[t * (stride_ - 1) + u]; }

  // alpha[t, u]: of being at position t after u units.
  std::vector<double> Forward() const {
    std::vector<double> alpha(static_cast<size_t>(t_ * u_), kNever);
    for (int64_t t = 0; t < t_; ++t) {
      for (int64_t u = 0; u < u_; ++u) {
        double sum = t == 0 && u == 0 ? 0 : kNever;
        if (t > 0) sum = LogAdd(sum, alpha[At(t - 1, u)] + Blank(t - 1, u));
        if (u > 0) sum = LogAdd(sum, alpha[At(t, u - 1)] + Label(t, u - 1));
        alpha[At(t, u)] = sum;
      }
    }
    return alpha;
  }

  // beta[t, u]: of finishing from there; beta[0, 0] is the whole.
  std::vector<double> Backward() const {
    std::vector<double> beta(static_cast<size_t>(t_ * u_), kNever);
    for (int64_t t = t_ - 1; t >= 0; --t) {
      for (int64_t u = u_ - 1; u >= 0; --u) {
        double sum = t == t_ - 1 && u == u_ - 1 ? Blank(t, u) : kNever;
        if (t + 1 < t_) sum = LogAdd(sum, beta[At(t + 1, u)] + Blank(t, u));
        if (u + 1 < u_) sum = LogAdd(sum, beta[At(t, u + 1)] + Label(t, u));
        beta[At(t, u)] = sum;
      }
    }
    return beta;
  }

  // Gradients of −log p by every edge: minus the probability that a way goes along it.
  void Gradients(double scale, float* d_blank, float* d_label) const {
    const std::vector<double> alpha = Forward(), beta = Backward();
    const double total = beta[0];
    for (int64_t t = 0; t < t_; ++t) {
      for (int64_t u = 0; u < u_; ++u) {
        const double here = alpha[At(t, u)] - total;
        const bool last = t == t_ - 1 && u == u_ - 1;
        const double behind = last ? 0 : t + 1 < t_ ? beta[At(t + 1, u)] : kNever;
        d_blank[t * stride_ + u] =
            static_cast<float>(-scale * std::exp(here + Blank(t, u) + behind));
        if (u + 1 < u_) {
          d_label[t * (stride_ - 1) + u] =
              static_cast<float>(-scale * std::exp(here + Label(t, u) + beta[At(t, u + 1)]));
        }
      }
    }
  }

 private:
  size_t At(int64_t t, int64_t u) const { return static_cast<size_t>(t * u_ + u); }
  const float *blank_, *label_;
  int64_t t_, u_, stride_;
};

class TransducerFunction : public torch::autograd::Function<TransducerFunction> {
 public:
  static Variable forward(AutogradContext* ctx, const Variable& blank, const Variable& label,
                          std::vector<int64_t> positions, std::vector<int64_t> units) {
    ctx->save_for_backward({blank, label});
    ctx->saved_data["positions"] = positions;
    ctx->saved_data["units"] = units;
    at::Tensor losses = at::empty({blank.size(0)}, at::kFloat);
    at::parallel_for(0, blank.size(0), 1, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        losses.mutable_data_ptr<float>()[row] =
            static_cast<float>(-GridOf(blank, label, row, positions, units).Backward().front());
      }
    });
    return losses;
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const variable_list saved = ctx->get_saved_variables();
    const std::vector<int64_t> positions = ctx->saved_data["positions"].toIntVector();
    const std::vector<int64_t> units = ctx->saved_data["units"].toIntVector();
    const at::Tensor d_loss = grads[0].contiguous();
    at::Tensor d_blank = at::zeros_like(saved[0]), d_label = at::zeros_like(saved[1]);
    at::parallel_for(0, d_blank.size(0), 1, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        GridOf(saved[0], saved[1], row, positions, units)
            .Gradients(d_loss.const_data_ptr<float>()[row],
                       d_blank.mutable_data_ptr<float>() + row * d_blank.stride(0),
                       d_label.mutable_data_ptr<float>() + row * d_label.stride(0));
      }
    });
    return {d_blank, d_label, Variable(), Variable()};
  }

 private:
  static Grid GridOf(const at::Tensor& blank, const at::Tensor& label, int64_t row,
                     const std::vector<int64_t>& positions, const std::vector<int64_t>& units) {
    const auto at = static_cast<size_t>(row);
    return {blank.const_data_ptr<float>() + row * blank.stride(0),
            label.const_data_ptr<float>() + row * label.stride(0), positions[at], units[at],
            blank.size(2)};
  }
};

}  // namespace

at::Tensor TransducerLoss(const at::Tensor& blank, const at::Tensor& label,
                          std::span<const int64_t> positions, std::span<const int64_t> units) {
  return TransducerFunction::apply(blank.contiguous(), label.contiguous(),
                                   std::vector<int64_t>(positions.begin(), positions.end()),
                                   std::vector<int64_t>(units.begin(), units.end()));
}

}  // namespace rondo
