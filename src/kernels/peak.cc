#include "kernels/peak.h"

#include "kernels/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/peak.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"
#include "kernels/int8_dot-inl.h"
#include "kernels/quant_panel.h"

HWY_BEFORE_NAMESPACE();
namespace rondo::HWY_NAMESPACE {

double MultiplyAdds(int64_t steps) {
  const PanelTag d;
  PanelVec sums[kAccumulators];
  for (int i = 0; i < kAccumulators; ++i) sums[i] = hn::Set(d, static_cast<float>(i));
  const PanelVec factor = hn::Set(d, 0.5f);
  for (int64_t step = 0; step < steps; ++step) {
    for (int i = 0; i < kAccumulators; ++i) sums[i] = hn::MulAdd(sums[i], factor, factor);
  }
  for (int i = 1; i < kAccumulators; ++i) sums[0] = hn::Add(sums[0], sums[i]);
  volatile float keep = hn::GetLane(sums[0]);
  static_cast<void>(keep);
  return 2.0 * static_cast<double>(steps) * kAccumulators * kPanelLanes;
}

// Every quad has another pair of operands, so that none can be computed once for several.
template <class Dot>
HWY_INLINE double Int8Products(int64_t steps) {
  constexpr int kSums = 6;
  const QuadTag d;
  QuadVec w[kQuads];
  SumVec sums[kSums];
  for (int i = 0; i < kQuads; ++i) {
    volatile uint32_t codes = 0x01020304u + 0x0102u * i;
    w[i] = hn::Set(d, codes);
  }
  for (int i = 0; i < kSums; ++i) sums[i] = hn::Set(SumTag(), i);
  for (int64_t step = 0; step < steps; ++step) {
#pragma GCC unroll 6
    for (int i = 0; i < kSums; ++i) {
      Dot dot;
#pragma GCC unroll 8
      for (int quad = 0; quad < kQuads; ++quad) {
        dot.Add(quad, w[quad], hn::BitCast(d, sums[i]));
      }
      sums[i] = dot.Total();
    }
  }
  for (int i = 1; i < kSums; ++i) sums[0] = hn::Add(sums[0], sums[i]);
  volatile int32_t keep = hn::GetLane(sums[0]);
  static_cast<void>(keep);
  return 2.0 * 4 * static_cast<double>(steps) * kSums * kQuads * kPanelLanes;
}

template <template <int> class Dot>
HWY_INLINE double Int8ProductsOf(int bits, int64_t steps) {
  if (bits <= 4) return Int8Products<Dot<4>>(steps);
  if (bits == 5) return Int8Products<Dot<5>>(steps);
  if (bits == 6) return Int8Products<Dot<6>>(steps);
  return Int8Products<Dot<8>>(steps);
}

double RunInt8(int bits, int64_t steps) {
#if HWY_TARGET == HWY_AVX3
  if (UseVnni()) return Int8ProductsOf<VnniDot>(bits, steps);
#endif
  return Int8ProductsOf<QuadDot>(bits, steps);
}

void ReadAll(const std::byte* memory, int64_t bytes) {
  const QuadTag d;
  const auto* p = reinterpret_cast<const uint32_t*>(memory);
  QuadVec bits[4] = {hn::Zero(d), hn::Zero(d), hn::Zero(d), hn::Zero(d)};
  for (int64_t i = 0; i + 4 * kPanelLanes <= bytes / 4; i += 4 * kPanelLanes) {
    for (int v = 0; v < 4; ++v) bits[v] = hn::Or(bits[v], hn::Load(d, p + i + v * kPanelLanes));
  }
  volatile uint32_t keep = hn::GetLane(hn::Or(hn::Or(bits[0], bits[1]), hn::Or(bits[2], bits[3])));
  static_cast<void>(keep);
}

}  // namespace rondo::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace rondo {
HWY_EXPORT(MultiplyAdds);
HWY_EXPORT(RunInt8);
HWY_EXPORT(ReadAll);

double MultiplyAddLoop(int64_t steps) { return HWY_DYNAMIC_DISPATCH(MultiplyAdds)(steps); }

double Int8Loop(int bits, int64_t steps) { return HWY_DYNAMIC_DISPATCH(RunInt8)(bits, steps); }

void ReadLoop(const std::byte* memory, int64_t bytes) {
  HWY_DYNAMIC_DISPATCH(ReadAll)(memory, bytes);
}

}  // namespace rondo
#endif  // HWY_ONCE
