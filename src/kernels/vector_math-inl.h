// Vector functions of activations and softmax. Included once per instruction set.
#if defined(RONDO_VECTOR_MATH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef RONDO_VECTOR_MATH_INL_H_
#undef RONDO_VECTOR_MATH_INL_H_
#else
#define RONDO_VECTOR_MATH_INL_H_
#endif

#include "hwy/contrib/math/math-inl.h"
#include "hwy/highway.h"
#include "kernels/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace rondo::HWY_NAMESPACE {

// 16 partial sums: element i of a row goes to chain i % 16 on every instruction set, and the chains
// are added in one fixed order, so zeros in front of or behind the elements change nothing.
struct LaneSums {
  PanelVec vecs[kPanelVecs];

  HWY_INLINE LaneSums() {
    for (PanelVec& v : vecs) v = hn::Zero(PanelTag());
  }
  HWY_INLINE float Total() const {
    HWY_ALIGN float chains[kPanelWidth];
    for (int v = 0; v < kPanelVecs; ++v) hn::Store(vecs[v], PanelTag(), chains + v * kPanelLanes);
    for (int half = kPanelWidth / 2; half > 0; half /= 2) {
      for (int i = 0; i < half; ++i) chains[i] += chains[i + half];
    }
    return chains[0];
  }
};

// x / (1 + e^-x). Beyond -88 the true value is below 1e-36: the clamp keeps e^-x finite.
HWY_INLINE PanelVec Silu(PanelVec x) {
  const PanelTag d;
  const PanelVec exp = hn::Exp(d, hn::Min(hn::Neg(x), hn::Set(d, 88.0f)));
  return hn::Div(x, hn::Add(hn::Set(d, 1.0f), exp));
}

// 1 / (1 + e^-x), clamped alike.
HWY_INLINE PanelVec Sigmoid(PanelVec x) {
  const PanelTag d;
  const PanelVec one = hn::Set(d, 1.0f);
  return hn::Div(one, hn::Add(one, hn::Exp(d, hn::Min(hn::Neg(x), hn::Set(d, 88.0f)))));
}

// x/2 · (1 + tanh(√(2/π) (x + 0.044715 x³))).
HWY_INLINE PanelVec GeluTanh(PanelVec x) {
  const PanelTag d;
  const PanelVec square = hn::Mul(x, x);
  const PanelVec inner = hn::Mul(x, hn::MulAdd(square, hn::Set(d, 0.044715f), hn::Set(d, 1.0f)));
  const PanelVec tanh = hn::Tanh(d, hn::Mul(inner, hn::Set(d, 0.7978845608028654f)));
  return hn::Mul(hn::Mul(x, hn::Set(d, 0.5f)), hn::Add(hn::Set(d, 1.0f), tanh));
}

// Error function: x · P(x²) / Q(x²), fitted for the least relative error on [0, 3.925] (1.9e-8
// before rounding); beyond that it is 1 in f32. With the roundings it is within 4e-7 everywhere.
HWY_INLINE PanelVec Erf(PanelVec x) {
  const PanelTag d;
  constexpr float kEnd = 3.925f;
  constexpr float kP[] = {1.128379107f,    1.905941665e-1f, 5.276934803e-2f,
                          3.772566793e-3f, 2.848438162e-4f, 2.046022928e-6f};
  constexpr float kQ[] = {
      1.0f, 5.022423863e-1f, 1.141828895e-1f, 1.498323120e-2f, 1.163861714e-3f, 3.804774315e-5f};
  x = hn::Max(hn::Set(d, -kEnd), hn::Min(x, hn::Set(d, kEnd)));
  const PanelVec square = hn::Mul(x, x);
  PanelVec p = hn::Set(d, kP[5]), q = hn::Set(d, kQ[5]);
  for (int i = 4; i >= 0; --i) {
    p = hn::MulAdd(p, square, hn::Set(d, kP[i]));
    q = hn::MulAdd(q, square, hn::Set(d, kQ[i]));
  }
  const PanelVec one = hn::Set(d, 1.0f);
  return hn::Max(hn::Neg(one), hn::Min(hn::Div(hn::Mul(x, p), q), one));
}

// Share of a standard normal variable below x.
HWY_INLINE PanelVec NormalCdf(PanelVec x) {
  const PanelTag d;
  const PanelVec erf = Erf(hn::Mul(x, hn::Set(d, 0.70710678118654752f)));
  return hn::Mul(hn::Set(d, 0.5f), hn::Add(hn::Set(d, 1.0f), erf));
}

// x/2 · (1 + erf(x/√2)).
HWY_INLINE PanelVec GeluErf(PanelVec x) { return hn::Mul(x, NormalCdf(x)); }

// cap · tanh(x / cap).
HWY_INLINE PanelVec Capped(PanelVec x, float cap) {
  const PanelTag d;
  return hn::Mul(hn::Tanh(d, hn::Div(x, hn::Set(d, cap))), hn::Set(d, cap));
}

}  // namespace rondo::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
