// GFLOP/s of MatMul beside the machine's own multiply-add peak, measured in the same run.
//
//   matmul_bench [threads]
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <vector>

#include "base/rng.h"
#include "base/thread_pool.h"
#include "kernels/matmul.h"
#include "kernels/peak.h"

namespace rondo {
namespace {

// Seconds of the fastest of several runs: other tenants only ever slow one down.
double Fastest(const std::function<void()>& run) {
  double best = 1e9;
  for (int i = 0; i < 25; ++i) {
    const auto start = std::chrono::steady_clock::now();
    run();
    best = std::min(
        best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  return best;
}

double Peak(ThreadPool& pool) {
  constexpr int64_t kSteps = 1'000'000;
  std::vector<double> flops(static_cast<size_t>(pool.threads()));
  const double seconds = Fastest([&] {
    pool.ParallelFor(pool.threads(),
                     [&](int64_t i) { flops[static_cast<size_t>(i)] = MultiplyAddLoop(kSteps); });
  });
  double total = 0;
  for (const double f : flops) total += f;
  return total / seconds / 1e9;
}

void Run(ThreadPool& pool) {
  const double peak = Peak(pool);
  std::printf("threads %d, f32 multiply-add peak %.0f GFLOP/s\n", pool.threads(), peak);
  std::printf("%5s %6s %6s %5s %9s %7s %8s\n", "rows", "in", "out", "type", "GFLOP/s", "of peak",
              "GB/s");
  const int64_t shapes[][2] = {{576, 576}, {576, 192}, {576, 1536}, {1536, 576}, {576, 64}};
  for (const DType type : {DType::kF32, DType::kBF16}) {
    for (const int64_t rows : {1, 4, 16, 512}) {
      for (const auto& [in, out] : shapes) {
        Rng rng(1);
        std::vector<float> weight(static_cast<size_t>(in * out));
        std::vector<float> x(static_cast<size_t>(rows * in));
        for (float& value : weight) value = static_cast<float>(rng.Normal());
        for (float& value : x) value = static_cast<float>(rng.Normal());
        std::vector<float> y(static_cast<size_t>(rows * out));
        const PackedMatrix packed(Tensor::FromF32({out, in}, weight), type);
        const int64_t repeats = std::max<int64_t>(1, 20'000'000 / (rows * in * out));
        const double seconds = Fastest([&] {
                                 for (int64_t i = 0; i < repeats; ++i) {
                                   MatMul(packed, x.data(), rows, y.data(), false, pool);
                                 }
                               }) /
                               static_cast<double>(repeats);
        const double gflops = 2e-9 * static_cast<double>(rows * in * out) / seconds;
        std::printf("%5ld %6ld %6ld %5s %9.1f %6.0f%% %8.1f\n", static_cast<long>(rows),
                    static_cast<long>(in), static_cast<long>(out), Info(type).name.data(), gflops,
                    100 * gflops / peak, static_cast<double>(packed.bytes()) / seconds / 1e9);
      }
    }
  }
}

}  // namespace
}  // namespace rondo

int main(int argc, char** argv) {
  rondo::ThreadPool pool(argc > 1 ? std::atoi(argv[1]) : 0);
  rondo::Run(pool);
}
