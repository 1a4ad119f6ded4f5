// Products with panels of 2-bit and 3-bit codes.
#include "kernels/matmul_task.h"
#include "kernels/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/matmul_q2_q3.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"
#include "kernels/matmul_quant-inl.h"

HWY_BEFORE_NAMESPACE();
namespace rondo::HWY_NAMESPACE {

void RunQ2Q3(const MatMulTask& t) {
  RunQuant<DType::kQ2_0, DType::kQ2_1, DType::kQ3_0, DType::kQ3_1>(t);
}

}  // namespace rondo::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace rondo {
HWY_EXPORT(RunQ2Q3);

void RunQ2Q3Task(const MatMulTask& task) { HWY_DYNAMIC_DISPATCH(RunQ2Q3)(task); }

}  // namespace rondo
#endif  // HWY_ONCE
