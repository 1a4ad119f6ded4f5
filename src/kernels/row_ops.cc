#include "kernels/row_ops.h"

#include <algorithm>
#include <cmath>

#include "kernels/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/row_ops.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"
#include "kernels/vector_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace rondo::HWY_NAMESPACE {

// Sum of f(x[i]) in 16 interleaved chains, whatever the lane count.
template <typename F>
HWY_INLINE float SumOf(const float* x, int64_t count, const F& f) {
  LaneSums sums;
  int64_t i = 0;
  for (; i + kPanelWidth <= count; i += kPanelWidth) {
    for (int v = 0; v < kPanelVecs; ++v) {
      sums.vecs[v] = hn::Add(sums.vecs[v], f(hn::LoadU(PanelTag(), x + i + v * kPanelLanes)));
    }
  }
  HWY_ALIGN float tail[kPanelWidth] = {};
  for (int v = 0; i < count; ++v, i += kPanelLanes) {
    const auto valid = static_cast<size_t>(std::min<int64_t>(kPanelLanes, count - i));
    const PanelTag d;
    std::copy_n(x + i, valid, tail);
    const PanelVec value = hn::IfThenElseZero(hn::FirstN(d, valid), f(hn::Load(d, tail)));
    sums.vecs[v] = hn::Add(sums.vecs[v], value);
  }
  return sums.Total();
}

// y[i] = f(i, x[i]) for whole vectors, then for a padded last one: every element sees the same
// code.
template <typename F>
HWY_INLINE void Map(const float* x, int64_t count, float* y, const F& f) {
  const PanelTag d;
  int64_t i = 0;
  for (; i + kPanelLanes <= count; i += kPanelLanes) {
    hn::StoreU(f(hn::LoadU(d, x + i), i, kPanelLanes), d, y + i);
  }
  if (i == count) return;
  HWY_ALIGN float last[kPanelWidth] = {};
  std::copy_n(x + i, count - i, last);
  hn::Store(f(hn::Load(d, last), i, static_cast<int>(count - i)), d, last);
  std::copy_n(last, count - i, y + i);
}

// The first `valid` elements at p, zeros beyond.
HWY_INLINE PanelVec LoadSome(const float* p, int valid) {
  if (valid == kPanelLanes) return hn::LoadU(PanelTag(), p);
  HWY_ALIGN float values[kPanelWidth] = {};
  std::copy_n(p, valid, values);
  return hn::Load(PanelTag(), values);
}

void RmsNormRow(const float* x, int64_t width, const float* gain, float eps, float* y) {
  const PanelTag d;
  const float squares = SumOf(x, width, [](PanelVec v) HWY_ATTR { return hn::Mul(v, v); });
  const PanelVec factor = hn::Set(d, 1 / std::sqrt(squares / static_cast<float>(width) + eps));
  if (gain == nullptr) {
    return Map(x, width, y, [=](PanelVec v, int64_t, int) HWY_ATTR { return hn::Mul(v, factor); });
  }
  Map(x, width, y, [=](PanelVec v, int64_t i, int valid) HWY_ATTR {
    return hn::Mul(hn::Mul(v, factor), LoadSome(gain + i, valid));
  });
}

void LayerNormRow(const float* x, int64_t width, const float* gain, const float* bias, float eps,
                  float* y) {
  const PanelTag d;
  const float sum = SumOf(x, width, [](PanelVec v) HWY_ATTR { return v; });
  const PanelVec mean = hn::Set(d, sum / static_cast<float>(width));
  const float squares = SumOf(x, width, [=](PanelVec v) HWY_ATTR {
    const PanelVec centred = hn::Sub(v, mean);
    return hn::Mul(centred, centred);
  });
  const PanelVec factor = hn::Set(d, 1 / std::sqrt(squares / static_cast<float>(width) + eps));
  Map(x, width, y, [=](PanelVec v, int64_t i, int valid) HWY_ATTR {
    v = hn::Mul(hn::Sub(v, mean), factor);
    if (gain != nullptr) v = hn::Mul(v, LoadSome(gain + i, valid));
    if (bias != nullptr) v = hn::Add(v, LoadSome(bias + i, valid));
    return v;
  });
}

template <typename Act>
HWY_INLINE void MapActivation(const Act& act, float* x, const float* up, int64_t count) {
  if (up == nullptr) {
    return Map(x, count, x, [&](PanelVec v, int64_t, int) HWY_ATTR { return act(v); });
  }
  Map(x, count, x, [&](PanelVec v, int64_t i, int valid) HWY_ATTR {
    return hn::Mul(act(v), LoadSome(up + i, valid));
  });
}

void ActivateRow(Activation kind, float* x, const float* up, int64_t count) {
  switch (kind) {
    case Activation::kSilu:
      return MapActivation([](PanelVec v) HWY_ATTR { return Silu(v); }, x, up, count);
    case Activation::kGelu:
      return MapActivation([](PanelVec v) HWY_ATTR { return GeluErf(v); }, x, up, count);
    case Activation::kGeluTanh:
      return MapActivation([](PanelVec v) HWY_ATTR { return GeluTanh(v); }, x, up, count);
    case Activation::kRelu:
      return MapActivation([](PanelVec v) HWY_ATTR { return hn::Max(v, hn::Zero(PanelTag())); }, x,
                           up, count);
  }
}

void GateSigmoidRow(const float* a, const float* gate, int64_t count, float* y) {
  Map(gate, count, y, [=](PanelVec v, int64_t i, int valid) HWY_ATTR {
    return hn::Mul(LoadSome(a + i, valid), Sigmoid(v));
  });
}

void AddToRow(float* a, const float* b, int64_t count) {
  Map(a, count, a, [=](PanelVec v, int64_t i, int valid) HWY_ATTR {
    return hn::Add(v, LoadSome(b + i, valid));
  });
}

void ScaleRow(float* a, float scale, int64_t count) {
  const PanelVec factor = hn::Set(PanelTag(), scale);
  Map(a, count, a, [=](PanelVec v, int64_t, int) HWY_ATTR { return hn::Mul(v, factor); });
}

void SoftCapRow(float* x, float cap, int64_t count) {
  Map(x, count, x, [=](PanelVec v, int64_t, int) HWY_ATTR { return Capped(v, cap); });
}

}  // namespace rondo::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace rondo {
HWY_EXPORT(RmsNormRow);
HWY_EXPORT(LayerNormRow);
HWY_EXPORT(ActivateRow);
HWY_EXPORT(GateSigmoidRow);
HWY_EXPORT(AddToRow);
HWY_EXPORT(ScaleRow);
HWY_EXPORT(SoftCapRow);

void RmsNorm(const float* x, int64_t width, const float* gain, float eps, float* y) {
  HWY_DYNAMIC_DISPATCH(RmsNormRow)(x, width, gain, eps, y);
}

void LayerNorm(const float* x, int64_t width, const float* gain, const float* bias, float eps,
               float* y) {
  HWY_DYNAMIC_DISPATCH(LayerNormRow)(x, width, gain, bias, eps, y);
}

void Activate(Activation kind, float* x, int64_t count) {
  HWY_DYNAMIC_DISPATCH(ActivateRow)(kind, x, nullptr, count);
}

void ActivateGated(Activation kind, float* gate, const float* up, int64_t count) {
  HWY_DYNAMIC_DISPATCH(ActivateRow)(kind, gate, up, count);
}

void GateSigmoid(const float* a, const float* gate, int64_t count, float* y) {
  HWY_DYNAMIC_DISPATCH(GateSigmoidRow)(a, gate, count, y);
}

void AddTo(float* a, const float* b, int64_t count) { HWY_DYNAMIC_DISPATCH(AddToRow)(a, b, count); }

void Scale(float* a, float scale, int64_t count) {
  HWY_DYNAMIC_DISPATCH(ScaleRow)(a, scale, count);
}

void SoftCap(float* x, float cap, int64_t count) {
  HWY_DYNAMIC_DISPATCH(SoftCapRow)(x, cap, count);
}

}  // namespace rondo
#endif  // HWY_ONCE
