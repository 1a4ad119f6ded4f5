#include "kernels/peak.h"

#include "kernels/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/peak.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"
#include "kernels/tile-inl.h"

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

}  // namespace rondo::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace rondo {
HWY_EXPORT(MultiplyAdds);

double MultiplyAddLoop(int64_t steps) { return HWY_DYNAMIC_DISPATCH(MultiplyAdds)(steps); }

}  // namespace rondo
#endif  // HWY_ONCE
