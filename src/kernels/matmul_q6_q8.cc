// Products with panels of 6-bit and 8-bit codes.
#include "kernels/matmul_task.h"
#include "kernels/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/matmul_q6_q8.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"
#include "kernels/matmul_quant-inl.h"

HWY_BEFORE_NAMESPACE();
namespace rondo::HWY_NAMESPACE {

void RunQ6Q8(const MatMulTask& t) { RunQuant<DType::kQ6_K, DType::kQ8_0>(t); }

}  // namespace rondo::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace rondo {
HWY_EXPORT(RunQ6Q8);

void RunQ6Q8Task(const MatMulTask& task) { HWY_DYNAMIC_DISPATCH(RunQ6Q8)(task); }

}  // namespace rondo
#endif  // HWY_ONCE
