// Vector functions of activations and softmax. Included once per instruction set.
#if defined(RONDO_VECTOR_MATH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef RONDO_VECTOR_MATH_INL_H_
#undef RONDO_VECTOR_MATH_INL_H_
#else
#define RONDO_VECTOR_MATH_INL_H_
#endif

#include <cmath>

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

// x/2 · (1 + tanh(√(2/π) (x + 0.044715 x³))).
HWY_INLINE PanelVec GeluTanh(PanelVec x) {
  const PanelTag d;
  const PanelVec square = hn::Mul(x, x);
  const PanelVec inner = hn::Mul(x, hn::MulAdd(square, hn::Set(d, 0.044715f), hn::Set(d, 1.0f)));
  const PanelVec tanh = hn::Tanh(d, hn::Mul(inner, hn::Set(d, 0.7978845608028654f)));
  return hn::Mul(hn::Mul(x, hn::Set(d, 0.5f)), hn::Add(hn::Set(d, 1.0f), tanh));
}

// x/2 · (1 + erf(x/√2)), lane by lane: the library's erf is accurate and no vector one is at hand.
HWY_INLINE PanelVec GeluErf(PanelVec x) {
  HWY_ALIGN float values[kPanelLanes];
  hn::Store(x, PanelTag(), values);
  for (float& v : values) v = 0.5f * v * (1 + std::erf(v * 0.70710678118654752f));
  return hn::Load(PanelTag(), values);
}

// cap · tanh(x / cap).
HWY_INLINE PanelVec Capped(PanelVec x, float cap) {
  const PanelTag d;
  return hn::Mul(hn::Tanh(d, hn::Div(x, hn::Set(d, cap))), hn::Set(d, cap));
}

}  // namespace rondo::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
