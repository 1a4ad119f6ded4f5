#include "train/model/composed.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "train/loss/head_loss.h"
#include "train/model/attention.h"

namespace rondo {
namespace {

at::Tensor Activated(const at::Tensor& x, Activation kind) {
  switch (kind) {
    case Activation::kSilu:
      return at::silu(x);
    case Activation::kGeluTanh:
      return at::gelu(x, "tanh");
    case Activation::kGelu:
      return at::gelu(x, "none");
    case Activation::kRelu:
      return at::relu(x);
  }
  return x;
}

// x[tokens, heads, dim] with its first rotary_dim elements turned.
at::Tensor Turned(const at::Tensor& x, const at::Tensor& angles, const HeadShape& s) {
  if (!angles.defined() || s.rotary_dim == 0) return x;
  const int64_t half = s.rotary_dim / 2;
  const at::Tensor table = angles.narrow(0, 0, s.length).repeat({s.rows, 1}).unsqueeze(1);
  const at::Tensor cosine = table.narrow(2, 0, half), sine = table.narrow(2, half, half);
  const at::Tensor a = x.narrow(2, 0, half), b = x.narrow(2, half, half);
  return at::cat({a * cosine - b * sine, b * cosine + a * sine,
                  x.narrow(2, s.rotary_dim, s.head_dim - s.rotary_dim)},
                 2);
}

at::Tensor Capped(const at::Tensor& z, float softcap) {
  return softcap > 0 ? at::tanh(z / softcap) * softcap : z;
}

at::Tensor LogOf(const at::Tensor& p) { return p.clamp_min(kTinyProbability).log(); }

// Forward KL over the known tokens and one outcome for all others.
at::Tensor TopDivergence(const at::Tensor& log_s, const TopTokens& top, int64_t begin) {
  const int64_t rows = log_s.size(0), k = top.k;
  const auto first = static_cast<size_t>(begin * k), count = static_cast<size_t>(rows * k);
  const at::Tensor ids = IdsOn(log_s, std::span(top.ids).subspan(first, count)).view({rows, k});
  at::Tensor known = at::empty({rows, k}, at::kFloat);
  std::copy_n(top.log_p.data() + first, count, known.mutable_data_ptr<float>());
  const at::Tensor log_t = known.to(log_s.device()).to(at::kDouble), t = log_t.exp();
  const at::Tensor mine = log_s.gather(1, ids).to(at::kDouble);
  const at::Tensor divergence = (t * (log_t - mine)).sum(1);
  if (k >= log_s.size(1)) return divergence;
  const at::Tensor rest = (1 - t.sum(1)).clamp_min(0);
  const at::Tensor mine_rest = (1 - mine.exp().sum(1)).clamp_min(kRestFloor);
  const at::Tensor part = rest * (rest.clamp_min(kTinyProbability).log() - mine_rest.log());
  return divergence + at::where(rest > kRestFloor, part, at::zeros_like(part));
}

// Cross-entropy of each row; 0 without a target.
at::Tensor RowCrossEntropy(const at::Tensor& log_p, const at::Tensor& targets) {
  const at::Tensor picked = log_p.gather(1, targets.clamp_min(0).unsqueeze(1)).squeeze(1);
  return at::where(targets >= 0, -picked, at::zeros_like(picked));
}

}  // namespace

at::Tensor IdsOn(const at::Tensor& like, std::span<const int32_t> ids) {
  const std::vector<int64_t> wide(ids.begin(), ids.end());
  return at::tensor(wide, at::kLong).to(like.device());
}

at::Tensor ComposedRmsNorm(const at::Tensor& x, const at::Tensor& gain, double eps) {
  const at::Tensor y = x * at::rsqrt(x.square().mean(-1, /*keepdim=*/true) + eps);
  return gain.defined() ? y * gain : y;
}

at::Tensor ComposedActivation(const at::Tensor& x, Activation kind, bool gated) {
  if (!gated) return Activated(x, kind);
  const int64_t width = x.size(1) / 2;
  return Activated(x.narrow(1, 0, width), kind) * x.narrow(1, width, width);
}

Heads ComposedSplitHeads(const at::Tensor& qkv, const at::Tensor& angles, const HeadShape& s) {
  const int64_t tokens = s.rows * s.length;
  const at::Tensor all = qkv.view({tokens, s.heads + 2 * s.kv_heads, s.head_dim});
  const auto rows = [&](const at::Tensor& x) {
    return x.view({s.rows, s.length, s.heads, s.head_dim}).transpose(1, 2);
  };
  const auto repeated = [&](const at::Tensor& x) {
    return x.repeat_interleave(s.heads / s.kv_heads, 1);
  };
  const at::Tensor q = Turned(all.narrow(1, 0, s.heads), angles, s);
  const at::Tensor k = Turned(all.narrow(1, s.heads, s.kv_heads), angles, s);
  const at::Tensor v = all.narrow(1, s.heads + s.kv_heads, s.kv_heads);
  return {rows(q), rows(repeated(k)), rows(repeated(v))};
}

at::Tensor ComposedAttention(const Heads& heads, const at::Tensor& ranges,
                             const AttentionOptions& options) {
  if (options.plain_causal && options.softcap == 0) {
    return at::scaled_dot_product_attention(heads.q, heads.k, heads.v, {}, /*dropout_p=*/0,
                                            /*is_causal=*/true, options.scale);
  }
  const at::Tensor on_device = ranges.to(heads.q.device()).unsqueeze(1).unsqueeze(3);
  const at::Tensor key =
      at::arange(-options.prefix, heads.k.size(2) - options.prefix, on_device.options());
  const at::Tensor visible =
      (key < 0) | ((key >= on_device.select(4, 0)) & (key < on_device.select(4, 1)));
  if (options.softcap == 0) {
    return at::scaled_dot_product_attention(heads.q, heads.k, heads.v, visible, /*dropout_p=*/0,
                                            /*is_causal=*/false, options.scale);
  }
  const at::Tensor scores =
      Capped(heads.q.matmul(heads.k.transpose(2, 3)) * options.scale,
             static_cast<float>(options.softcap))
          .masked_fill(visible.logical_not(), -std::numeric_limits<float>::infinity());
  return at::softmax(scores, -1).matmul(heads.v);
}

at::Tensor RowDivergence(const VocabLoss& loss, const at::Tensor& log_s, const at::Tensor& log_t) {
  const at::Tensor s = log_s.exp(), t = log_t.exp();
  switch (loss.kind) {
    case KdKind::kForwardKl:
      return (t * (log_t - log_s)).sum(1);
    case KdKind::kReverseKl:
      return (s * (log_s - log_t)).sum(1);
    case KdKind::kJensenShannon: {
      const double share = loss.js_lambda;
      const at::Tensor log_m = LogOf(t * share + s * (1 - share));
      return (t * (log_t - log_m) * share + s * (log_s - log_m) * (1 - share)).sum(1);
    }
    case KdKind::kSymmetricKl:
      return ((s - t) * (log_s - log_t)).sum(1) * 0.5;
    case KdKind::kTotalVariation:
      return (s - t).abs().sum(1) * 0.5;
  }
  return {};
}

ChunkLoss ComposedVocabLoss(const VocabLoss& loss, at::Tensor& z, const ChunkTeacher& teacher,
                            std::span<const int32_t> targets, float scale) {
  const at::AutoGradMode with_gradient(true);
  const at::Tensor ids = IdsOn(z, targets);
  const at::Tensor leaf = z.detach().clone().requires_grad_(true);
  const at::Tensor capped = Capped(leaf, loss.softcap), log_p = at::log_softmax(capped, 1);
  const at::Tensor ce = RowCrossEntropy(log_p, ids).to(at::kDouble).sum();
  at::Tensor kd = at::zeros_like(ce);
  if (loss.kd != 0 && teacher.top != nullptr) {
    kd = TopDivergence(log_p, *teacher.top, teacher.begin).sum();
  } else if (loss.kd != 0 && teacher.logits.defined()) {
    const double tau = loss.temperature;
    kd = RowDivergence(loss, tau == 1 ? log_p : at::log_softmax(capped / tau, 1),
                       at::log_softmax(teacher.logits / tau, 1))
             .to(at::kDouble)
             .sum() *
         (tau * tau);
  }
  const at::Tensor total = (ce * loss.ce + kd * loss.kd) * scale;
  torch::autograd::backward({total}, {at::ones_like(total)});
  const at::NoGradGuard no_grad;
  const at::Tensor best = capped.amax(1), picked = capped.gather(1, ids.clamp_min(0).unsqueeze(1));
  const at::Tensor correct =
      (picked.squeeze(1) >= best).logical_and(ids >= 0).to(at::kDouble).sum();
  z.copy_(leaf.grad());
  const at::Tensor numbers = at::stack({ce, kd, correct}).cpu();
  const double* values = numbers.const_data_ptr<double>();
  return {.ce = values[0], .kd = values[1], .correct = static_cast<int64_t>(values[2])};
}

double ComposedCrossEntropy(const at::Tensor& z, std::span<const int32_t> targets, float softcap) {
  const at::Tensor log_p = at::log_softmax(Capped(z, softcap), 1);
  return RowCrossEntropy(log_p, IdsOn(z, targets)).to(at::kDouble).sum().cpu().item<double>();
}

}  // namespace rondo
