#include "train/model/matmul.h"

#include <ATen/core/dispatch/Dispatcher.h>

#include <optional>
#include <string_view>
#include <vector>

#include "train/model/fused.h"

namespace rondo {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Variable;
using torch::autograd::variable_list;

// oneDNN's product x · wᵀ + bias, which LibTorch offers to compiled graphs only.
using OneDnnLinear = at::Tensor(const at::Tensor& x, const at::Tensor& w,
                                const std::optional<at::Tensor>& bias, std::string_view attr,
                                c10::List<std::optional<at::Scalar>> scalars,
                                std::optional<std::string_view> algorithm);

// at::mm goes to MKL, which gives CPUs of other makers than its own AVX2 kernels even where they
// have AVX-512: half of what oneDNN reaches there (Zen 5, one core: 103 and 230 GFLOP/s).
bool MklLeavesAvx512() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx512f") && !__builtin_cpu_is("intel");
#else
  return false;
#endif
}

std::optional<c10::TypedOperatorHandle<OneDnnLinear>> FindOneDnn() {
  if (!MklLeavesAvx512()) return std::nullopt;
  const auto found =
      c10::Dispatcher::singleton().findSchema({"mkldnn::_linear_pointwise", /*overload=*/""});
  if (!found) return std::nullopt;
  return found->typed<OneDnnLinear>();
}

// x[rows, in] · w[out, in]ᵀ of one type, and bias, which may be undefined or empty, in f32.
// Operands without elements are LibTorch's.
at::Tensor Product(const at::Tensor& x, const at::Tensor& w, const at::Tensor& bias) {
  static const auto one_dnn = FindOneDnn();
  const bool biased = bias.defined() && IsGiven(bias);
  const bool fused = biased && x.scalar_type() == at::kFloat;
  at::Tensor y;
  if (one_dnn && x.is_cpu() && x.numel() > 0 && w.numel() > 0) {
    y = one_dnn->call(x, w, fused ? std::optional(bias) : std::nullopt, /*attr=*/"none",
                      /*scalars=*/c10::List<std::optional<at::Scalar>>(), /*algorithm=*/"");
  } else {
    y = fused ? at::addmm(bias, x, w.t()) : x.mm(w.t());
  }
  y = y.to(at::kFloat);
  return biased && !fused ? y.add_(bias) : y;
}

class LinearFunction : public torch::autograd::Function<LinearFunction> {
 public:
  static Variable forward(AutogradContext* ctx, const Variable& x, const Variable& weight,
                          const Variable& bias, at::ScalarType operands) {
    const at::Tensor rounded_x = x.to(operands), rounded_weight = weight.to(operands);
    ctx->save_for_backward({rounded_x, rounded_weight});
    return Product(rounded_x, rounded_weight, bias);
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const variable_list saved = ctx->get_saved_variables();
    const at::Tensor &x = saved[0], &weight = saved[1], sums = grads[0].contiguous();
    const at::ScalarType operands = x.scalar_type();
    const at::Tensor dy = sums.to(operands);
    return {ctx->needs_input_grad(0) ? MatMul(dy, weight, operands) : Variable(),
            ctx->needs_input_grad(1) ? MatMul(dy.t(), x, operands) : Variable(),
            ctx->needs_input_grad(2) ? sums.sum(0) : Variable(), Variable()};
  }
};

}  // namespace

at::Tensor MatMul(const at::Tensor& a, const at::Tensor& b, at::ScalarType operands) {
  return Product(a.to(operands), b.to(operands).t(), {});
}

at::Tensor LinearOp(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                    at::ScalarType operands) {
  const at::Tensor rows = x.dim() == 2 ? x : x.reshape({-1, x.size(-1)});
  const at::Tensor y = at::GradMode::is_enabled()
                           ? LinearFunction::apply(rows, weight, OrEmpty(bias), operands)
                           : Product(rows.to(operands), weight.to(operands), bias);
  if (x.dim() == 2) return y;
  std::vector<int64_t> sizes = x.sizes().vec();
  sizes.back() = weight.size(0);
  return y.view(sizes);
}

}  // namespace rondo
