#include "kernels/grad/vocab_loss.h"

#include <algorithm>
#include <cmath>

#include "kernels/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/grad/vocab_loss.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"
#include "kernels/softmax-inl.h"

HWY_BEFORE_NAMESPACE();
namespace rondo::HWY_NAMESPACE {

HWY_INLINE PanelVec Load(const float* p) { return hn::LoadU(PanelTag(), p); }
HWY_INLINE PanelVec Constant(float value) { return hn::Set(PanelTag(), value); }

// x *= factor.
HWY_INLINE void ScaleBy(float* x, int64_t count, double factor) {
  const auto f = static_cast<float>(factor);
  for (int64_t i = 0; i < count; ++i) x[i] *= f;
}

// z = cap · tanh(z / cap), slope = its derivative.
HWY_INLINE void CapWithSlope(float* z, int64_t count, float cap, float* slope) {
  for (int64_t i = 0; i < count; ++i) {
    const float t = std::tanh(z[i] / cap);
    z[i] = cap * t;
    if (slope != nullptr) slope[i] = 1 - t * t;
  }
}

struct Distributions {
  float* student;  // exponentials [vocab], then the gradient
  float* teacher;
  double student_sum, teacher_sum;
};

// Σ p_T (t − z) / temperature, of raw logits, and both rows' exponentials in one sweep.
HWY_INLINE double ForwardKlTerms(float* z, float* t, int64_t count, float z_max, float t_max,
                                 float temperature, Distributions& out) {
  const PanelTag d;
  const PanelVec inverse = Constant(1 / temperature);
  BlockSum student, teacher, cross;
  const auto tail = [&](int64_t i) HWY_ATTR {
    const float a = (z[i] - z_max) / temperature, b = (t[i] - t_max) / temperature;
    z[i] = std::exp(a);
    t[i] = std::exp(b);
    student.AddOne(z[i]);
    teacher.AddOne(t[i]);
    cross.AddOne(t[i] * (b - a));
  };
  InBlocks(
      count,
      [&](int64_t i) HWY_ATTR {
        const PanelVec a = hn::Mul(hn::Sub(Load(z + i), Constant(z_max)), inverse);
        const PanelVec b = hn::Mul(hn::Sub(Load(t + i), Constant(t_max)), inverse);
        const PanelVec student_exp = hn::Exp(d, a), teacher_exp = hn::Exp(d, b);
        hn::StoreU(student_exp, d, z + i);
        hn::StoreU(teacher_exp, d, t + i);
        student.Add(student_exp);
        teacher.Add(teacher_exp);
        cross.Add(hn::Mul(teacher_exp, hn::Sub(b, a)));
      },
      tail,
      [&]() HWY_ATTR {
        student.Flush();
        teacher.Flush();
        cross.Flush();
      });
  out = {z, t, student.total, teacher.total};
  return cross.total / teacher.total;
}

// g(s, t), the divergence's derivative by the student's probability up to a constant, and its
// contribution to the value.
struct Term {
  PanelVec slope, value;
};

HWY_INLINE Term DivergenceTerm(KdKind kind, PanelVec s, PanelVec t, float lambda) {
  const PanelTag d;
  const PanelVec tiny = Constant(kTinyProbability);
  const PanelVec log_s = hn::Log(d, hn::Max(s, tiny));
  const PanelVec log_t = hn::Log(d, hn::Max(t, tiny));
  switch (kind) {
    case KdKind::kForwardKl:  // has a sweep of its own
    case KdKind::kReverseKl: {
      const PanelVec ratio = hn::Sub(log_s, log_t);
      return {ratio, hn::Mul(s, ratio)};
    }
    case KdKind::kJensenShannon: {
      const PanelVec share = Constant(lambda), rest = Constant(1 - lambda);
      const PanelVec mixed = hn::MulAdd(share, t, hn::Mul(rest, s));
      const PanelVec log_m = hn::Log(d, hn::Max(mixed, tiny));
      const PanelVec slope = hn::Mul(rest, hn::Sub(log_s, log_m));
      const PanelVec from_teacher = hn::Mul(hn::Mul(share, t), hn::Sub(log_t, log_m));
      return {slope, hn::MulAdd(s, slope, from_teacher)};
    }
    case KdKind::kSymmetricKl: {
      const PanelVec half = Constant(0.5f);
      const PanelVec ratio = hn::Sub(log_s, log_t);
      return {hn::Mul(half, hn::Sub(ratio, hn::Div(t, hn::Max(s, tiny)))),
              hn::Mul(hn::Mul(half, hn::Sub(s, t)), ratio)};
    }
    case KdKind::kTotalVariation: {
      const PanelVec difference = hn::Sub(s, t);
      const PanelVec half = Constant(0.5f);
      const PanelVec slope =
          hn::IfThenElseZero(hn::Ne(difference, hn::Zero(d)), hn::CopySign(half, difference));
      return {slope, hn::Mul(half, hn::Abs(difference))};
    }
  }
  return {hn::Zero(d), hn::Zero(d)};
}

// Gradient by the logits, s (g − Σ s g), written to `out`; returns the divergence. `s` and `t` are
// probabilities, padded by the caller to whole vectors with zeros.
HWY_INLINE double DivergenceGradient(KdKind kind, float lambda, const float* s, const float* t,
                                     int64_t count, float factor, float* out) {
  const PanelTag d;
  BlockSum dot, value;
  HWY_ALIGN float tail_s[kPanelWidth] = {}, tail_t[kPanelWidth] = {}, tail_slope[kPanelWidth];
  const int64_t whole = count / kPanelLanes * kPanelLanes;
  std::copy(s + whole, s + count, tail_s);
  std::copy(t + whole, t + count, tail_t);
  const auto sweep = [&](const float* sp, const float* tp, float* slope) HWY_ATTR {
    const PanelVec student = Load(sp);
    const Term term = DivergenceTerm(kind, student, Load(tp), lambda);
    dot.Add(hn::Mul(student, term.slope));
    value.Add(term.value);
    hn::StoreU(term.slope, d, slope);
  };
  const auto flush = [&]() HWY_ATTR {
    dot.Flush();
    value.Flush();
  };
  InBlocks(
      whole, [&](int64_t i) HWY_ATTR { sweep(s + i, t + i, out + i); }, [](int64_t) HWY_ATTR {},
      flush);
  if (whole < count) {
    sweep(tail_s, tail_t, tail_slope);
    flush();
    std::copy_n(tail_slope, count - whole, out + whole);
  }
  const auto mean = static_cast<float>(dot.total);
  for (int64_t i = 0; i < count; ++i) out[i] = factor * s[i] * (out[i] - mean);
  return value.total;
}

// Cross-entropy and, in `gradient`, `factor` times the softmax less the target; z is overwritten.
HWY_INLINE double CrossEntropy(float* z, int64_t vocab, int32_t target, float largest, float factor,
                               float* gradient) {
  const float logit = z[target];
  const double sum = Exponentials(z, vocab, largest, 1);
  const auto scale = static_cast<float>(factor / sum);
  for (int64_t i = 0; i < vocab; ++i) gradient[i] = scale * z[i];
  gradient[target] -= factor;
  return std::log(sum) + largest - logit;
}

// Forward KL and cross-entropy at temperature 1 share the student's exponentials.
HWY_INLINE VocabLossValue ForwardKlAndCe(const VocabLoss& loss, float* z, float* t, int64_t vocab,
                                         int32_t target, float z_max, float scale) {
  const float logit = target >= 0 ? z[target] : 0;
  const float t_max = Largest(t, vocab);
  Distributions at;
  const double cross = ForwardKlTerms(z, t, vocab, z_max, t_max, loss.temperature, at);
  const double squared = double{loss.temperature} * loss.temperature;
  VocabLossValue value;
  value.kd = (cross + std::log(at.student_sum) - std::log(at.teacher_sum)) * squared;
  const bool with_ce = loss.ce != 0 && target >= 0;
  if (target >= 0) value.ce = std::log(at.student_sum) + z_max - logit;
  const float kd_scale = scale * loss.kd * loss.temperature;
  const float ce_scale = with_ce ? scale * loss.ce : 0;
  const auto a = static_cast<float>((kd_scale + ce_scale) / at.student_sum);
  const auto b = static_cast<float>(kd_scale / at.teacher_sum);
  for (int64_t i = 0; i < vocab; ++i) z[i] = a * z[i] - b * t[i];
  if (with_ce) z[target] -= ce_scale;
  return value;
}

VocabLossValue LossOfRow(const VocabLoss& loss, float* z, float* t, int64_t vocab, int32_t target,
                         float scale, float* scratch) {
  float* slope = scratch + vocab;
  if (loss.softcap > 0) CapWithSlope(z, vocab, loss.softcap, slope);
  const float z_max = Largest(z, vocab);
  const bool correct = target >= 0 && z[target] >= z_max;
  const bool with_kd = loss.kd != 0 && t != nullptr;
  VocabLossValue value;
  if (with_kd && loss.kind == KdKind::kForwardKl && loss.temperature == 1) {
    value = ForwardKlAndCe(loss, z, t, vocab, target, z_max, scale);
  } else {
    std::copy_n(z, vocab, scratch);
    // The cross-entropy is reported even where it has no weight.
    if (target >= 0) {
      value.ce = CrossEntropy(scratch, vocab, target, z_max, scale * loss.ce, scratch);
    } else {
      std::fill_n(scratch, vocab, 0.0f);
    }
    if (!with_kd) {
      std::copy_n(scratch, vocab, z);
    } else if (loss.kind == KdKind::kForwardKl) {
      VocabLoss kd_only = loss;
      kd_only.ce = 0;
      value.kd = ForwardKlAndCe(kd_only, z, t, vocab, -1, z_max, scale).kd;
      for (int64_t i = 0; i < vocab; ++i) z[i] += scratch[i];
    } else {
      const float tau = loss.temperature;
      ScaleBy(z, vocab, 1 / Exponentials(z, vocab, z_max, tau));
      ScaleBy(t, vocab, 1 / Exponentials(t, vocab, Largest(t, vocab), tau));
      // The teacher's row is no longer needed once its slope is known, but both are read together,
      // so the gradient goes over the teacher.
      value.kd =
          DivergenceGradient(loss.kind, loss.js_lambda, z, t, vocab, scale * loss.kd * tau, t) *
          tau * tau;
      for (int64_t i = 0; i < vocab; ++i) z[i] = t[i] + scratch[i];
    }
  }
  if (loss.softcap > 0) {
    for (int64_t i = 0; i < vocab; ++i) z[i] *= slope[i];
  }
  value.correct = correct;
  return value;
}

// The gradient by logit i is s_i (1 − T / S) over the outcome that i belongs to, with T and S what
// teacher and student give that outcome.
VocabLossValue TopLossOfRow(const VocabLoss& loss, float* z, const TopRow& teacher, int64_t vocab,
                            int32_t target, float scale, float* scratch) {
  float* slope = scratch + vocab;
  if (loss.softcap > 0) CapWithSlope(z, vocab, loss.softcap, slope);
  const float z_max = Largest(z, vocab);
  VocabLossValue value;
  value.correct = target >= 0 && z[target] >= z_max;
  const float logit = target >= 0 ? z[target] : 0;
  double taught = 0, known = 0, kd = 0;
  for (int i = 0; i < teacher.k; ++i) scratch[i] = z[teacher.ids[i]];
  const double sum = Exponentials(z, vocab, z_max, 1);
  const double log_sum = std::log(sum) + z_max;
  for (int i = 0; i < teacher.k; ++i) {
    const double p = std::exp(double{teacher.log_p[i]});
    const double log_s = scratch[i] - log_sum;
    taught += p;
    known += std::exp(log_s);
    kd += p * (teacher.log_p[i] - log_s);
  }
  const double rest = std::max(0.0, 1 - taught), student_rest = std::max(1 - known, kRestFloor);
  // Below this, rounding of the sums is all there is, as when k is the whole vocabulary.
  const bool with_rest = rest > kRestFloor && teacher.k < vocab;
  if (with_rest) kd += rest * std::log(rest / student_rest);
  value.kd = kd;
  if (target >= 0) value.ce = log_sum - logit;
  const float ce = target >= 0 ? scale * loss.ce : 0, weight = scale * loss.kd;
  const double other = with_rest ? 1 - rest / student_rest : 1;
  const auto factor = static_cast<float>((ce + weight * other) / sum);
  const auto tied = static_cast<float>((ce + weight) / sum);
  for (int i = 0; i < teacher.k; ++i) scratch[i] = z[teacher.ids[i]];
  ScaleBy(z, vocab, factor);
  for (int i = 0; i < teacher.k; ++i) {
    z[teacher.ids[i]] = tied * scratch[i] - weight * std::exp(teacher.log_p[i]);
  }
  if (target >= 0) z[target] -= ce;
  if (loss.softcap > 0) {
    for (int64_t i = 0; i < vocab; ++i) z[i] *= slope[i];
  }
  return value;
}

double CrossEntropyOfRow(float* z, int64_t vocab, int32_t target, float softcap) {
  if (softcap > 0) CapWithSlope(z, vocab, softcap, nullptr);
  const float largest = Largest(z, vocab), logit = z[target];
  return std::log(Exponentials(z, vocab, largest, 1)) + largest - logit;
}

}  // namespace rondo::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace rondo {
HWY_EXPORT(LossOfRow);
HWY_EXPORT(TopLossOfRow);
HWY_EXPORT(CrossEntropyOfRow);

VocabLossValue VocabLossRow(const VocabLoss& loss, float* z, float* teacher, int64_t vocab,
                            int32_t target, float scale, float* scratch) {
  return HWY_DYNAMIC_DISPATCH(LossOfRow)(loss, z, teacher, vocab, target, scale, scratch);
}

VocabLossValue TopLossRow(const VocabLoss& loss, float* z, const TopRow& teacher, int64_t vocab,
                          int32_t target, float scale, float* scratch) {
  return HWY_DYNAMIC_DISPATCH(TopLossOfRow)(loss, z, teacher, vocab, target, scale, scratch);
}

double CrossEntropyRow(float* z, int64_t vocab, int32_t target, float softcap) {
  return HWY_DYNAMIC_DISPATCH(CrossEntropyOfRow)(z, vocab, target, softcap);
}

}  // namespace rondo
#endif  // HWY_ONCE
