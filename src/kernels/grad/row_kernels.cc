#include "kernels/grad/row_kernels.h"

#include <algorithm>
#include <cmath>

#include "kernels/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/grad/row_kernels.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"
#include "kernels/vector_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace rondo::HWY_NAMESPACE {

constexpr int64_t kLanes = kPanelLanes;

// Calls whole(i) for every full vector and part(i, valid) once for what is left.
template <typename Whole, typename Part>
HWY_INLINE void ForVectors(int64_t count, const Whole& whole, const Part& part) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) whole(i);
  if (i < count) part(i, static_cast<int>(count - i));
}

HWY_INLINE PanelVec Load(const float* p) { return hn::LoadU(PanelTag(), p); }
HWY_INLINE void Store(PanelVec v, float* p) { hn::StoreU(v, PanelTag(), p); }

// The first `valid` elements at p, zeros beyond.
HWY_INLINE PanelVec LoadPart(const float* p, int valid) {
  HWY_ALIGN float values[kPanelWidth] = {};
  std::copy_n(p, valid, values);
  return hn::Load(PanelTag(), values);
}

HWY_INLINE void StorePart(PanelVec v, float* p, int valid) {
  HWY_ALIGN float values[kPanelWidth];
  hn::Store(v, PanelTag(), values);
  std::copy_n(values, valid, p);
}

HWY_INLINE float Sum(PanelVec v) { return hn::GetLane(hn::SumOfLanes(PanelTag(), v)); }
HWY_INLINE PanelVec Constant(float value) { return hn::Set(PanelTag(), value); }
HWY_INLINE PanelVec Zeros() { return hn::Zero(PanelTag()); }
HWY_INLINE PanelVec KeepFirst(PanelVec v, int valid) {
  return hn::IfThenElseZero(hn::FirstN(PanelTag(), static_cast<size_t>(valid)), v);
}

void RmsForward(const float* x, int64_t rows, int64_t width, const float* gain, float eps, float* y,
                float* rstd) {
  for (int64_t r = 0; r < rows; ++r, x += width, y += width) {
    LaneSums sums;
    int64_t i = 0;
    for (; i + kPanelWidth <= width; i += kPanelWidth) {
      for (int v = 0; v < kPanelVecs; ++v) {
        const PanelVec value = Load(x + i + v * kLanes);
        sums.vecs[v] = hn::MulAdd(value, value, sums.vecs[v]);
      }
    }
    double squares = sums.Total();
    for (; i < width; ++i) squares += double{x[i]} * x[i];
    rstd[r] = static_cast<float>(1 / std::sqrt(squares / static_cast<double>(width) + eps));
    const PanelVec factor = Constant(rstd[r]);
    ForVectors(
        width,
        [&](int64_t k) HWY_ATTR {
          const PanelVec v = hn::Mul(Load(x + k), factor);
          Store(gain ? hn::Mul(v, Load(gain + k)) : v, y + k);
        },
        [&](int64_t k, int valid) HWY_ATTR {
          const PanelVec v = hn::Mul(LoadPart(x + k, valid), factor);
          StorePart(gain ? hn::Mul(v, LoadPart(gain + k, valid)) : v, y + k, valid);
        });
  }
}

// With x̂ = x · rstd and g = dy ⊙ gain: dx = rstd (g − x̂ · mean(g ⊙ x̂)), dgain = Σ dy ⊙ x̂.
void RmsBackward(const float* dy, const float* x, const float* rstd, const float* gain,
                 int64_t rows, int64_t width, float* dx, float* dgain) {
  for (int64_t r = 0; r < rows; ++r, x += width, dy += width, dx += width) {
    const PanelVec factor = Constant(rstd[r]);
    PanelVec dots = Zeros();
    const auto gather = [&](PanelVec d, PanelVec normed, PanelVec g)
                            HWY_ATTR { dots = hn::MulAdd(hn::Mul(d, g), normed, dots); };
    ForVectors(
        width,
        [&](int64_t k) HWY_ATTR {
          const PanelVec d = Load(dy + k), normed = hn::Mul(Load(x + k), factor);
          gather(d, normed, gain ? Load(gain + k) : Constant(1));
          if (dgain) Store(hn::MulAdd(d, normed, Load(dgain + k)), dgain + k);
        },
        [&](int64_t k, int valid) HWY_ATTR {
          const PanelVec d = LoadPart(dy + k, valid);
          const PanelVec normed = hn::Mul(LoadPart(x + k, valid), factor);
          gather(d, normed, gain ? LoadPart(gain + k, valid) : Constant(1));
          if (dgain) {
            StorePart(hn::MulAdd(d, normed, LoadPart(dgain + k, valid)), dgain + k, valid);
          }
        });
    const PanelVec mean = Constant(Sum(dots) / static_cast<float>(width));
    const auto result = [&](PanelVec d, PanelVec value, PanelVec g) HWY_ATTR {
      const PanelVec normed = hn::Mul(value, factor);
      return hn::Mul(factor, hn::NegMulAdd(normed, mean, hn::Mul(d, g)));
    };
    ForVectors(
        width,
        [&](int64_t k) HWY_ATTR {
          Store(result(Load(dy + k), Load(x + k), gain ? Load(gain + k) : Constant(1)), dx + k);
        },
        [&](int64_t k, int valid) HWY_ATTR {
          StorePart(result(LoadPart(dy + k, valid), LoadPart(x + k, valid),
                           gain ? LoadPart(gain + k, valid) : Constant(1)),
                    dx + k, valid);
        });
  }
}

struct ActValue {
  PanelVec value, slope;
};

HWY_INLINE ActValue SiluWithSlope(PanelVec x) {
  const PanelVec one = Constant(1);
  const PanelVec exp = hn::Exp(PanelTag(), hn::Min(hn::Neg(x), Constant(88.0f)));
  const PanelVec sigmoid = hn::Div(one, hn::Add(one, exp));
  const PanelVec value = hn::Mul(x, sigmoid);
  return {value, hn::MulAdd(value, hn::Sub(one, sigmoid), sigmoid)};
}

HWY_INLINE ActValue GeluTanhWithSlope(PanelVec x) {
  const PanelVec one = Constant(1), half = Constant(0.5f), c = Constant(0.7978845608028654f);
  const PanelVec square = hn::Mul(x, x);
  const PanelVec inner = hn::Mul(hn::Mul(x, c), hn::MulAdd(square, Constant(0.044715f), one));
  const PanelVec tanh = hn::Tanh(PanelTag(), inner);
  const PanelVec gate = hn::Mul(half, hn::Add(one, tanh));
  const PanelVec inner_slope = hn::Mul(c, hn::MulAdd(square, Constant(3 * 0.044715f), one));
  const PanelVec tanh_slope = hn::NegMulAdd(tanh, tanh, one);
  return {hn::Mul(x, gate), hn::MulAdd(hn::Mul(hn::Mul(half, x), tanh_slope), inner_slope, gate)};
}

HWY_INLINE ActValue GeluErfWithSlope(PanelVec x) {
  const PanelVec cdf = NormalCdf(x);
  const PanelVec exp = hn::Exp(PanelTag(), hn::Mul(Constant(-0.5f), hn::Mul(x, x)));
  const PanelVec density = hn::Mul(Constant(0.3989422804014327f), exp);
  return {hn::Mul(x, cdf), hn::MulAdd(x, density, cdf)};
}

HWY_INLINE ActValue ReluWithSlope(PanelVec x) {
  return {hn::Max(x, Zeros()), hn::IfThenElseZero(hn::Gt(x, Zeros()), Constant(1))};
}

template <typename Act>
HWY_INLINE void ActForwardRows(const Act& act, bool gated, const float* x, int64_t rows,
                               int64_t width, float* y) {
  const int64_t stride = gated ? 2 * width : width;
  for (int64_t r = 0; r < rows; ++r, x += stride, y += width) {
    ForVectors(
        width,
        [&](int64_t k) HWY_ATTR {
          const PanelVec value = act(Load(x + k)).value;
          Store(gated ? hn::Mul(value, Load(x + width + k)) : value, y + k);
        },
        [&](int64_t k, int valid) HWY_ATTR {
          const PanelVec value = act(LoadPart(x + k, valid)).value;
          StorePart(gated ? hn::Mul(value, LoadPart(x + width + k, valid)) : value, y + k, valid);
        });
  }
}

template <typename Act>
HWY_INLINE void ActBackwardRows(const Act& act, bool gated, const float* x, const float* dy,
                                int64_t rows, int64_t width, float* dx) {
  const int64_t stride = gated ? 2 * width : width;
  for (int64_t r = 0; r < rows; ++r, x += stride, dy += width, dx += stride) {
    ForVectors(
        width,
        [&](int64_t k) HWY_ATTR {
          const ActValue a = act(Load(x + k));
          const PanelVec d = Load(dy + k);
          if (!gated) return Store(hn::Mul(d, a.slope), dx + k);
          Store(hn::Mul(hn::Mul(d, Load(x + width + k)), a.slope), dx + k);
          Store(hn::Mul(d, a.value), dx + width + k);
        },
        [&](int64_t k, int valid) HWY_ATTR {
          const ActValue a = act(LoadPart(x + k, valid));
          const PanelVec d = LoadPart(dy + k, valid);
          if (!gated) return StorePart(hn::Mul(d, a.slope), dx + k, valid);
          StorePart(hn::Mul(hn::Mul(d, LoadPart(x + width + k, valid)), a.slope), dx + k, valid);
          StorePart(hn::Mul(d, a.value), dx + width + k, valid);
        });
  }
}

template <typename Run>
HWY_INLINE void WithActivation(Activation kind, const Run& run) {
  switch (kind) {
    case Activation::kSilu:
      return run([](PanelVec v) HWY_ATTR { return SiluWithSlope(v); });
    case Activation::kGelu:
      return run([](PanelVec v) HWY_ATTR { return GeluErfWithSlope(v); });
    case Activation::kGeluTanh:
      return run([](PanelVec v) HWY_ATTR { return GeluTanhWithSlope(v); });
    case Activation::kRelu:
      return run([](PanelVec v) HWY_ATTR { return ReluWithSlope(v); });
  }
}

using BitsTag = hn::RebindToUnsigned<PanelTag>;
using BitsVec = hn::Vec<BitsTag>;
using IntTag = hn::RebindToSigned<PanelTag>;

// A permutation of 32-bit numbers whose results look drawn (C. Wellons, lowbias32).
HWY_INLINE BitsVec MixBits(BitsVec h) {
  h = hn::Xor(h, hn::ShiftRight<16>(h));
  h = hn::Mul(h, hn::Set(BitsTag(), 0x7feb352du));
  h = hn::Xor(h, hn::ShiftRight<15>(h));
  h = hn::Mul(h, hn::Set(BitsTag(), 0x846ca68bu));
  return hn::Xor(h, hn::ShiftRight<16>(h));
}

void Drop(const float* x, int64_t count, uint64_t seed, int64_t first, float rate, float* y) {
  const BitsTag bits;
  const auto low = static_cast<uint32_t>(seed), high = static_cast<uint32_t>(seed >> 32);
  const auto limit = hn::Set(IntTag(), static_cast<int32_t>(std::ldexp(double{rate}, 31)));
  const PanelVec scale = Constant(1 / (1 - rate));
  const auto dropped = [&](PanelVec value, int64_t i) HWY_ATTR {
    const BitsVec number = hn::Iota(bits, static_cast<uint32_t>(first + i) + low);
    const BitsVec drawn = MixBits(hn::Xor(MixBits(number), hn::Set(bits, high)));
    const auto gone = hn::Lt(hn::BitCast(IntTag(), hn::ShiftRight<1>(drawn)), limit);
    return hn::IfThenZeroElse(hn::RebindMask(PanelTag(), gone), hn::Mul(value, scale));
  };
  ForVectors(
      count, [&](int64_t i) HWY_ATTR { Store(dropped(Load(x + i), i), y + i); },
      [&](int64_t i, int valid)
          HWY_ATTR { StorePart(dropped(LoadPart(x + i, valid), i), y + i, valid); });
}

void ActForward(Activation kind, bool gated, const float* x, int64_t rows, int64_t width,
                float* y) {
  WithActivation(kind,
                 [&](const auto& act) HWY_ATTR { ActForwardRows(act, gated, x, rows, width, y); });
}

void ActBackward(Activation kind, bool gated, const float* x, const float* dy, int64_t rows,
                 int64_t width, float* dx) {
  WithActivation(
      kind, [&](const auto& act) HWY_ATTR { ActBackwardRows(act, gated, x, dy, rows, width, dx); });
}

void Turn(const float* in, int head_dim, int rotary_dim, const float* angles, bool inverse,
          float* out) {
  const int half = rotary_dim / 2;
  const float* cosines = angles;
  const float* sines = angles + half;
  const float sign = inverse ? -1.0f : 1.0f;
  for (int i = 0; i < half; ++i) {
    const float a = in[i], b = in[i + half], s = sign * sines[i];
    out[i] = a * cosines[i] - b * s;
    out[i + half] = b * cosines[i] + a * s;
  }
  if (in != out) std::copy_n(in + rotary_dim, head_dim - rotary_dim, out + rotary_dim);
}

void AdamWRange(const AdamStep& s, int64_t count, const float* grad, float* m, float* v,
                float* weight) {
  const PanelVec beta1 = Constant(s.beta1), rest1 = Constant(1 - s.beta1);
  const PanelVec beta2 = Constant(s.beta2), rest2 = Constant(1 - s.beta2);
  const PanelVec scale = Constant(s.grad_scale), keep = Constant(1 - s.lr * s.weight_decay);
  const PanelVec rate = Constant(-s.lr / s.correction1), eps = Constant(s.eps);
  const PanelVec inverse2 = Constant(1 / s.correction2);
  struct Updated {
    PanelVec m, v, weight;
  };
  const auto update = [&](PanelVec g, PanelVec old_m, PanelVec old_v, PanelVec w) HWY_ATTR {
    g = hn::Mul(g, scale);
    const PanelVec new_m = hn::MulAdd(beta1, old_m, hn::Mul(rest1, g));
    const PanelVec new_v = hn::MulAdd(beta2, old_v, hn::Mul(rest2, hn::Mul(g, g)));
    const PanelVec width = hn::Add(hn::Sqrt(hn::Mul(new_v, inverse2)), eps);
    return Updated{new_m, new_v, hn::MulAdd(rate, hn::Div(new_m, width), hn::Mul(w, keep))};
  };
  ForVectors(
      count,
      [&](int64_t i) HWY_ATTR {
        const Updated u = update(Load(grad + i), Load(m + i), Load(v + i), Load(weight + i));
        Store(u.m, m + i);
        Store(u.v, v + i);
        Store(u.weight, weight + i);
      },
      [&](int64_t i, int valid) HWY_ATTR {
        const Updated u = update(LoadPart(grad + i, valid), LoadPart(m + i, valid),
                                 LoadPart(v + i, valid), LoadPart(weight + i, valid));
        StorePart(u.m, m + i, valid);
        StorePart(u.v, v + i, valid);
        StorePart(u.weight, weight + i, valid);
      });
}

void Average(float decay, int64_t count, const float* value, float* average) {
  for (int64_t i = 0; i < count; ++i) average[i] += (1 - decay) * (value[i] - average[i]);
}

double Squares(const float* x, int64_t count) {
  constexpr int64_t kBlock = 4096;
  double total = 0;
  for (int64_t begin = 0; begin < count; begin += kBlock) {
    const int64_t size = std::min(kBlock, count - begin);
    PanelVec sums = Zeros();
    ForVectors(
        size,
        [&](int64_t i) HWY_ATTR {
          const PanelVec v = Load(x + begin + i);
          sums = hn::MulAdd(v, v, sums);
        },
        [&](int64_t i, int valid) HWY_ATTR {
          const PanelVec v = LoadPart(x + begin + i, valid);
          sums = hn::MulAdd(v, v, sums);
        });
    total += Sum(sums);
  }
  return total;
}

}  // namespace rondo::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace rondo {
HWY_EXPORT(RmsForward);
HWY_EXPORT(RmsBackward);
HWY_EXPORT(Drop);
HWY_EXPORT(ActForward);
HWY_EXPORT(ActBackward);
HWY_EXPORT(Turn);
HWY_EXPORT(AdamWRange);
HWY_EXPORT(Average);
HWY_EXPORT(Squares);

void RmsNormForward(const float* x, int64_t rows, int64_t width, const float* gain, float eps,
                    float* y, float* rstd) {
  HWY_DYNAMIC_DISPATCH(RmsForward)(x, rows, width, gain, eps, y, rstd);
}

void RmsNormBackward(const float* dy, const float* x, const float* rstd, const float* gain,
                     int64_t rows, int64_t width, float* dx, float* dgain) {
  HWY_DYNAMIC_DISPATCH(RmsBackward)(dy, x, rstd, gain, rows, width, dx, dgain);
}

void ActivationForward(Activation kind, bool gated, const float* x, int64_t rows, int64_t width,
                       float* y) {
  HWY_DYNAMIC_DISPATCH(ActForward)(kind, gated, x, rows, width, y);
}

void ActivationBackward(Activation kind, bool gated, const float* x, const float* dy, int64_t rows,
                        int64_t width, float* dx) {
  HWY_DYNAMIC_DISPATCH(ActBackward)(kind, gated, x, dy, rows, width, dx);
}

void Dropout(const float* x, int64_t count, uint64_t seed, int64_t first, float rate, float* y) {
  HWY_DYNAMIC_DISPATCH(Drop)(x, count, seed, first, rate, y);
}

void TurnHead(const float* in, int head_dim, int rotary_dim, const float* angles, bool inverse,
              float* out) {
  HWY_DYNAMIC_DISPATCH(Turn)(in, head_dim, rotary_dim, angles, inverse, out);
}

void AdamW(const AdamStep& step, int64_t count, const float* grad, float* m, float* v,
           float* weight) {
  HWY_DYNAMIC_DISPATCH(AdamWRange)(step, count, grad, m, v, weight);
}

void MovingAverage(float decay, int64_t count, const float* value, float* average) {
  HWY_DYNAMIC_DISPATCH(Average)(decay, count, value, average);
}

double SumOfSquares(const float* x, int64_t count) {
  return HWY_DYNAMIC_DISPATCH(Squares)(x, count);
}

}  // namespace rondo
#endif  // HWY_ONCE
