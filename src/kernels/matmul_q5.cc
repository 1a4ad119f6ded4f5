// Products with panels of 5-bit codes.
#include "kernels/matmul_task.h"
#include "kernels/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/matmul_q5.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"
#include "kernels/matmul_quant-inl.h"

HWY_BEFORE_NAMESPACE();
namespace rondo::HWY_NAMESPACE {

void RunQ5(const MatMulTask& t) { RunQuant<DType::kQ5_0, DType::kQ5_1, DType::kQ5_K>(t); }

}  // namespace rondo::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace rondo {
HWY_EXPORT(RunQ5);

void RunQ5Task(const MatMulTask& task) { HWY_DYNAMIC_DISPATCH(RunQ5)(task); }

}  // namespace rondo
#endif  // HWY_ONCE
