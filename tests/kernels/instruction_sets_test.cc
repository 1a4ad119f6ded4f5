// Instruction sets with a fused multiply-add give the same bits in every kernel, not only in the
// products of quantised weights that quant_matmul_test.cc holds all sets to.
#include <gmock/gmock.h>

#include <functional>

#include "kernels/aligned_buffer.h"
#include "kernels/attention.h"
#include "kernels/kernel_testing.h"
#include "kernels/row_ops.h"
#include "rondo/thread_pool.h"

namespace rondo {
namespace {

std::vector<std::string> FusedTargets() {
  std::vector<std::string> names;
  for (const std::string& name : KernelTargets()) {
    if (name != "sse4" && name != "portable") names.push_back(name);
  }
  return names;
}

// What `run` returns is the same on all of them, and each time it runs. The sets that round
// products before they add them are close; they are all that some machines have.
void ExpectAgreement(const std::function<std::vector<float>()>& run) {
  SetKernelTarget(KernelTargets().back());
  const std::vector<float> plain = run();
  const std::vector<std::string> names = FusedTargets();
  if (!names.empty()) SetKernelTarget(names.back());
  const std::vector<float> expected = run();
  for (const std::string& name : names) {
    SetKernelTarget(name);
    EXPECT_EQ(run(), expected) << name << " and " << names.back();
  }
  EXPECT_THAT(plain, testing::Pointwise(testing::FloatNear(1e-3f), expected));
  SetKernelTarget("auto");
}

TEST(FusedInstructionSets, AgreeOnProductsOfFloats) {
  const int64_t in = 300, out = 37;
  const Tensor w = Tensor::FromF32({out, in}, RandomFloats(in * out, 1));
  for (const DType type : {DType::kF32, DType::kBF16}) {
    const PackedMatrix packed(w, type);
    for (const int64_t rows : {1, 5, 40}) {
      const std::vector<float> x = RandomFloats(rows * in, 2);
      ExpectAgreement([&] { return Multiply(packed, x, rows, 1); });
    }
  }
}

TEST(FusedInstructionSets, AgreeOnNormsAndActivations) {
  const int64_t width = 577;
  std::vector<float> x = RandomFloats(width, 1);
  for (float& v : x) v *= 8;
  const std::vector<float> gain = RandomFloats(width, 2), bias = RandomFloats(width, 3);
  const auto changed = [&](const std::function<void(float*)>& change) {
    ExpectAgreement([&] {
      std::vector<float> y = x;
      change(y.data());
      return y;
    });
  };
  changed([&](float* y) { RmsNorm(y, width, gain.data(), 1e-5f, y); });
  changed([&](float* y) { LayerNorm(y, width, gain.data(), bias.data(), 1e-5f, y); });
  changed([&](float* y) { SoftCap(y, 0.7f, width); });
  for (const Activation kind :
       {Activation::kSilu, Activation::kGelu, Activation::kGeluTanh, Activation::kRelu}) {
    changed([&](float* y) { Activate(kind, y, width); });
    changed([&](float* y) { ActivateGated(kind, y, gain.data(), width); });
  }
}

TEST(FusedInstructionSets, AgreeOnAttention) {
  constexpr int kLength = 75;
  for (const KvType type : {KvType::kF32, KvType::kBF16, KvType::kInt8}) {
    for (const float softcap : {0.0f, 1.5f}) {
      const AttentionShape shape{
          .heads = 6, .kv_heads = 2, .head_dim = 20, .scale = 0.3f, .softcap = softcap};
      const KvLayout layout{shape.kv_heads, shape.head_dim, type};
      const int64_t width = int64_t{shape.heads} * shape.head_dim;
      const int64_t kv_width = int64_t{shape.kv_heads} * shape.head_dim;
      const std::vector<float> q = RandomFloats(kLength * width, 1);
      const std::vector<float> keys = RandomFloats(kLength * kv_width, 2);
      const std::vector<float> values = RandomFloats(kLength * kv_width, 3);
      AlignedBuffer first(layout.depth_bytes()), second(layout.depth_bytes());
      const std::vector<std::byte*> pages = {first.as<std::byte>(), second.as<std::byte>()};
      const KvView kv{layout, pages, 0};
      for (int t = 0; t < kLength; ++t) {
        StoreKv(kv, t, keys.data() + t * kv_width, values.data() + t * kv_width);
      }
      ExpectAgreement([&] {
        ThreadPool pool(1);
        std::vector<float> out(q.size());
        const AttentionSpan span{shape, kv, 0, kLength, q.data(), out.data()};
        Attention({&span, 1}, pool);
        return out;
      });
    }
  }
}

}  // namespace
}  // namespace rondo
