// The parts that softmax and the losses over a vocabulary share: the largest value, exponentials,
// sums that lose nothing over many thousand terms. Included once per instruction set.
#if defined(RONDO_SOFTMAX_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef RONDO_SOFTMAX_INL_H_
#undef RONDO_SOFTMAX_INL_H_
#else
#define RONDO_SOFTMAX_INL_H_
#endif

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "hwy/contrib/math/math-inl.h"
#include "hwy/highway.h"
#include "kernels/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace rondo::HWY_NAMESPACE {

// A sum whose lanes go to double after every block of InBlocks().
struct BlockSum {
  PanelVec lanes;
  double total = 0;

  HWY_INLINE BlockSum() : lanes(hn::Zero(PanelTag())) {}
  HWY_INLINE void Add(PanelVec v) { lanes = hn::Add(lanes, v); }
  HWY_INLINE void AddOne(float v) { total += v; }
  HWY_INLINE void Flush() {
    HWY_ALIGN float values[kPanelWidth];
    hn::Store(lanes, PanelTag(), values);
    for (int i = 0; i < kPanelLanes; ++i) total += values[i];
    lanes = hn::Zero(PanelTag());
  }
};

// Runs `body(i)` for full vectors and `tail(i)` for the elements left; `flush()` after each block.
template <typename Body, typename Tail, typename Flush>
HWY_INLINE void InBlocks(int64_t count, const Body& body, const Tail& tail, const Flush& flush) {
  constexpr int64_t kBlock = 2048;
  int64_t i = 0;
  while (i + kPanelLanes <= count) {
    const int64_t end = std::min(i + kBlock, count - kPanelLanes + 1);
    for (; i < end; i += kPanelLanes) body(i);
    flush();
  }
  for (; i < count; ++i) tail(i);
}

// -infinity for no values. A NaN may be passed over.
HWY_INLINE float Largest(const float* x, int64_t count) {
  const PanelTag d;
  PanelVec best = hn::Set(d, -std::numeric_limits<float>::infinity());
  int64_t i = 0;
  for (; i + kPanelLanes <= count; i += kPanelLanes) best = hn::Max(best, hn::LoadU(d, x + i));
  float largest = hn::GetLane(hn::MaxOfLanes(d, best));
  for (; i < count; ++i) largest = std::max(largest, x[i]);
  return largest;
}

// x = exp((x − largest) / temperature); returns the sum.
HWY_INLINE double Exponentials(float* x, int64_t count, float largest, float temperature) {
  const PanelTag d;
  const float inverse = 1 / temperature;
  BlockSum sum;
  InBlocks(
      count,
      [&](int64_t i) HWY_ATTR {
        const PanelVec shifted = hn::Sub(hn::LoadU(d, x + i), hn::Set(d, largest));
        const PanelVec e = hn::Exp(d, hn::Mul(shifted, hn::Set(d, inverse)));
        hn::StoreU(e, d, x + i);
        sum.Add(e);
      },
      [&](int64_t i) HWY_ATTR {
        x[i] = std::exp((x[i] - largest) * inverse);
        sum.AddOne(x[i]);
      },
      [&]() HWY_ATTR { sum.Flush(); });
  return sum.total;
}

}  // namespace rondo::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
