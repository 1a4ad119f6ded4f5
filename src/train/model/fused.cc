#include "train/model/fused.h"

#include <ATen/CPUGeneratorImpl.h>

#include <algorithm>
#include <mutex>

#include "kernels/grad/row_kernels.h"
#include "train/model/composed.h"

namespace rondo {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Variable;
using torch::autograd::variable_list;

const float* DataOrNull(const at::Tensor& t) {
  return IsGiven(t) ? t.const_data_ptr<float>() : nullptr;
}

class RmsNormFunction : public torch::autograd::Function<RmsNormFunction> {
 public:
  static Variable forward(AutogradContext* ctx, const Variable& x, const Variable& gain,
                          double eps) {
    const int64_t rows = x.size(0), width = x.size(1);
    at::Tensor y = at::empty_like(x);
    at::Tensor rstd = at::empty({rows}, x.options());
    const float* in = x.const_data_ptr<float>();
    float* out = y.mutable_data_ptr<float>();
    float* factors = rstd.mutable_data_ptr<float>();
    ForParts(rows, [&](int, int64_t begin, int64_t end) {
      RmsNormForward(in + begin * width, end - begin, width, DataOrNull(gain),
                     static_cast<float>(eps), out + begin * width, factors + begin);
    });
    ctx->save_for_backward({x, gain, rstd});
    return y;
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const variable_list saved = ctx->get_saved_variables();
    const at::Tensor &x = saved[0], &gain = saved[1], &rstd = saved[2];
    const int64_t rows = x.size(0), width = x.size(1);
    const at::Tensor dy = grads[0].contiguous();
    at::Tensor dx = at::empty_like(x);
    const bool with_gain = IsGiven(gain) && ctx->needs_input_grad(1);
    at::Tensor parts;
    if (with_gain) parts = at::zeros({at::get_num_threads(), width}, x.options());
    ForParts(rows, [&](int part, int64_t begin, int64_t end) {
      float* dgain = with_gain ? parts.mutable_data_ptr<float>() + part * width : nullptr;
      RmsNormBackward(dy.const_data_ptr<float>() + begin * width,
                      x.const_data_ptr<float>() + begin * width,
                      rstd.const_data_ptr<float>() + begin, DataOrNull(gain), end - begin, width,
                      dx.mutable_data_ptr<float>() + begin * width, dgain);
    });
    return {dx, with_gain ? parts.sum(0) : Variable(), Variable()};
  }
};

class ActivationFunction : public torch::autograd::Function<ActivationFunction> {
 public:
  static Variable forward(AutogradContext* ctx, const Variable& x, int64_t kind, bool gated) {
    const int64_t rows = x.size(0), stride = x.size(1), width = gated ? stride / 2 : stride;
    at::Tensor y = at::empty({rows, width}, x.options());
    ForParts(rows, [&](int, int64_t begin, int64_t end) {
      ActivationForward(static_cast<Activation>(kind), gated,
                        x.const_data_ptr<float>() + begin * stride, end - begin, width,
                        y.mutable_data_ptr<float>() + begin * width);
    });
    ctx->save_for_backward({x});
    ctx->saved_data["kind"] = kind;
    ctx->saved_data["gated"] = gated;
    return y;
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const at::Tensor x = ctx->get_saved_variables()[0];
    const auto kind = static_cast<Activation>(ctx->saved_data["kind"].toInt());
    const bool gated = ctx->saved_data["gated"].toBool();
    const int64_t rows = x.size(0), stride = x.size(1), width = gated ? stride / 2 : stride;
    const at::Tensor dy = grads[0].contiguous();
    at::Tensor dx = at::empty_like(x);
    ForParts(rows, [&](int, int64_t begin, int64_t end) {
      ActivationBackward(kind, gated, x.const_data_ptr<float>() + begin * stride,
                         dy.const_data_ptr<float>() + begin * width, end - begin, width,
                         dx.mutable_data_ptr<float>() + begin * stride);
    });
    return {dx, Variable(), Variable()};
  }
};

// The backward pass draws again what the forward pass drew, so that nothing is kept.
class DropoutFunction : public torch::autograd::Function<DropoutFunction> {
 public:
  static Variable forward(AutogradContext* ctx, const Variable& x, double rate, int64_t seed) {
    ctx->saved_data["rate"] = rate;
    ctx->saved_data["seed"] = seed;
    return Drop(x, rate, seed);
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    return {Drop(grads[0], ctx->saved_data["rate"].toDouble(), ctx->saved_data["seed"].toInt()),
            Variable(), Variable()};
  }

 private:
  static at::Tensor Drop(const at::Tensor& x, double rate, int64_t seed) {
    const at::Tensor in = x.contiguous();
    at::Tensor out = at::empty_like(in);
    ForParts(in.numel(), [&](int, int64_t begin, int64_t end) {
      Dropout(in.const_data_ptr<float>() + begin, end - begin, static_cast<uint64_t>(seed), begin,
              static_cast<float>(rate), out.mutable_data_ptr<float>() + begin);
    });
    return out;
  }
};

class SplitHeadsFunction : public torch::autograd::Function<SplitHeadsFunction> {
 public:
  static variable_list forward(AutogradContext* ctx, const Variable& qkv, const Variable& angles,
                               std::vector<int64_t> sizes) {
    const HeadShape s = Unpack(sizes);
    ctx->save_for_backward({angles});
    ctx->saved_data["sizes"] = sizes;
    const int64_t tokens = s.rows * s.length, row = int64_t{s.heads} * s.head_dim;
    at::Tensor q = at::empty({s.rows, s.length, s.heads, s.head_dim}, qkv.options());
    at::Tensor k = at::empty_like(q), v = at::empty_like(q);
    const float* in = qkv.const_data_ptr<float>();
    float *to_q = q.mutable_data_ptr<float>(), *to_k = k.mutable_data_ptr<float>(),
          *to_v = v.mutable_data_ptr<float>();
    ForParts(tokens, [&](int, int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) {
        const float* from = in + t * qkv.size(1);
        SplitToken(s, from, Angles(angles, s, t), to_q + t * row, to_k + t * row, to_v + t * row);
      }
    });
    return {q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)};
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const at::Tensor angles = ctx->get_saved_variables()[0];
    const HeadShape s = Unpack(ctx->saved_data["sizes"].toIntVector());
    for (at::Tensor& grad : grads) grad = grad.transpose(1, 2).contiguous();
    const int64_t tokens = s.rows * s.length, row = int64_t{s.heads} * s.head_dim;
    const int64_t width = int64_t{s.heads + 2 * s.kv_heads} * s.head_dim;
    at::Tensor out = at::empty({tokens, width}, grads[0].options());
    ForParts(tokens, [&](int, int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) {
        JoinToken(s, grads[0].const_data_ptr<float>() + t * row,
                  grads[1].const_data_ptr<float>() + t * row,
                  grads[2].const_data_ptr<float>() + t * row, Angles(angles, s, t),
                  out.mutable_data_ptr<float>() + t * width);
      }
    });
    return {out, Variable(), Variable()};
  }

 private:
  static HeadShape Unpack(const std::vector<int64_t>& v) {
    return {v[0],
            v[1],
            static_cast<int>(v[2]),
            static_cast<int>(v[3]),
            static_cast<int>(v[4]),
            static_cast<int>(v[5])};
  }

  static const float* Angles(const at::Tensor& angles, const HeadShape& s, int64_t token) {
    if (!IsGiven(angles)) return nullptr;
    return angles.const_data_ptr<float>() + token % s.length * s.rotary_dim;
  }

  static void CopyHead(const HeadShape& s, const float* in, const float* angles, bool inverse,
                       float* out) {
    TurnHead(in, s.head_dim, angles ? s.rotary_dim : 0, angles, inverse, out);
  }

  static void SplitToken(const HeadShape& s, const float* from, const float* angles, float* q,
                         float* k, float* v) {
    const int64_t dim = s.head_dim;
    const int group = s.heads / s.kv_heads;
    for (int h = 0; h < s.heads; ++h) CopyHead(s, from + h * dim, angles, false, q + h * dim);
    const float* keys = from + s.heads * dim;
    const float* values = keys + s.kv_heads * dim;
    for (int h = 0; h < s.kv_heads; ++h) {
      float* first = k + int64_t{h} * group * dim;
      CopyHead(s, keys + h * dim, angles, false, first);
      for (int g = 1; g < group; ++g) std::copy_n(first, dim, first + g * dim);
      for (int g = 0; g < group; ++g) {
        std::copy_n(values + h * dim, dim, v + (int64_t{h} * group + g) * dim);
      }
    }
  }

  static void SumGroup(const float* in, int group, int64_t dim, float* out) {
    std::copy_n(in, dim, out);
    for (int g = 1; g < group; ++g) {
      for (int64_t i = 0; i < dim; ++i) out[i] += in[g * dim + i];
    }
  }

  static void JoinToken(const HeadShape& s, const float* dq, const float* dk, const float* dv,
                        const float* angles, float* out) {
    const int64_t dim = s.head_dim;
    const int group = s.heads / s.kv_heads;
    for (int h = 0; h < s.heads; ++h) CopyHead(s, dq + h * dim, angles, true, out + h * dim);
    float* keys = out + s.heads * dim;
    float* values = keys + s.kv_heads * dim;
    for (int h = 0; h < s.kv_heads; ++h) {
      const int64_t at = int64_t{h} * group * dim;
      SumGroup(dk + at, group, dim, keys + h * dim);
      CopyHead(s, keys + h * dim, angles, true, keys + h * dim);
      SumGroup(dv + at, group, dim, values + h * dim);
    }
  }
};

}  // namespace

void ForParts(int64_t rows,
              const std::function<void(int part, int64_t begin, int64_t end)>& range) {
  const int parts = at::get_num_threads();
  at::parallel_for(0, parts, 1, [&](int64_t first, int64_t last) {
    for (int64_t part = first; part < last; ++part) {
      const int64_t begin = rows * part / parts, end = rows * (part + 1) / parts;
      if (begin < end) range(static_cast<int>(part), begin, end);
    }
  });
}

at::Tensor RmsNormOp(const at::Tensor& x, const at::Tensor& gain, double eps) {
  if (!x.is_cpu()) return ComposedRmsNorm(x, gain, eps);
  return RmsNormFunction::apply(x, OrEmpty(gain), eps);
}

at::Tensor ActivationOp(const at::Tensor& x, Activation kind, bool gated) {
  if (!x.is_cpu()) return ComposedActivation(x, kind, gated);
  return ActivationFunction::apply(x, static_cast<int64_t>(kind), gated);
}

at::Tensor DropoutOp(const at::Tensor& x, double rate) {
  if (rate == 0) return x;
  if (!x.is_cpu()) return at::dropout(x, rate, /*train=*/true);
  at::Generator generator = at::detail::getDefaultCPUGenerator();
  const std::lock_guard lock(generator.mutex());
  const uint64_t seed = generator.get<at::CPUGeneratorImpl>()->random64();
  return DropoutFunction::apply(x, rate, static_cast<int64_t>(seed));
}

Heads SplitHeads(const at::Tensor& qkv, const at::Tensor& angles, const HeadShape& shape) {
  if (!qkv.is_cpu()) return ComposedSplitHeads(qkv, angles, shape);
  const std::vector<int64_t> sizes = {shape.rows,     shape.length,   shape.heads,
                                      shape.kv_heads, shape.head_dim, shape.rotary_dim};
  const variable_list parts = SplitHeadsFunction::apply(qkv, OrEmpty(angles), sizes);
  return {parts[0], parts[1], parts[2]};
}

}  // namespace rondo
