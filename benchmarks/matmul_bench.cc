// Speed of MatMul by weight type, shape and rows beside the machine's own limits, measured in the
// same run: reading memory of the matrix's size, f32 multiply-adds and 8-bit products in registers.
//
//   matmul_bench [threads] [type…]        # default: all CPUs, every type
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "base/rng.h"
#include "base/stopwatch.h"
#include "kernels/bandwidth.h"
#include "kernels/matmul.h"
#include "kernels/peak.h"
#include "kernels/quant_panel.h"
#include "kernels/simd_targets.h"
#include "rondo/error.h"
#include "rondo/thread_pool.h"

namespace rondo {
namespace {

constexpr double kSecondsEach = 0.05;

// Seconds of the fastest of many runs: other tenants only ever slow one down.
double Fastest(const std::function<void()>& run) {
  double best = 1e9;
  const Stopwatch all;
  for (int i = 0; i < 5 || all.Seconds() < kSecondsEach; ++i) {
    const Stopwatch watch;
    run();
    best = std::min(best, watch.Seconds());
  }
  return best;
}

// Operations a second of `loop` on every thread at once.
double Peak(ThreadPool& pool, const std::function<double(int64_t)>& loop) {
  std::vector<double> work(static_cast<size_t>(pool.threads()));
  const double seconds = Fastest([&] {
    pool.ParallelFor(pool.threads(),
                     [&](int64_t i) { work[static_cast<size_t>(i)] = loop(20'000); });
  });
  double total = 0;
  for (const double w : work) total += w;
  return total / seconds;
}

void Run(ThreadPool& pool, const std::vector<DType>& types) {
  // By bits of a weight's code; 32 are f32 multiply-adds.
  std::map<int, double> peak = {{32, Peak(pool, MultiplyAddLoop)}};
  for (const int bits : {2, 3, 4, 5, 6, 8}) {
    peak[bits] = Peak(pool, [bits](int64_t steps) { return Int8Loop(bits, steps); });
  }
  std::printf(
      "%d threads, %s; G/s of multiply-adds (two operations) in registers:\n"
      "  f32 %.0f, 8-bit activations with weights of 8 bits %.0f, 6 %.0f, 5 %.0f, 4 %.0f\n",
      pool.threads(), KernelTarget().c_str(), peak[32] / 1e9, peak[8] / 1e9, peak[6] / 1e9,
      peak[5] / 1e9, peak[4] / 1e9);
  std::printf("%5s %6s %6s %5s %9s %9s %8s %6s %8s %6s\n", "type", "out", "in", "rows", "us", "KiB",
              "GB/s", "of mem", "GOP/s", "of peak");
  const int64_t shapes[][2] = {{192, 576}, {576, 576}, {1536, 576}, {576, 1536}, {49152, 576}};
  for (const DType type : types) {
    for (const auto& [out, in] : shapes) {
      // K-quants need whole super-blocks.
      const int64_t width =
          (in + Info(type).block_length - 1) / Info(type).block_length * Info(type).block_length;
      Rng rng(1);
      std::vector<float> weight(static_cast<size_t>(width * out));
      for (float& value : weight) value = static_cast<float>(rng.Uniform() - 0.5);
      const PackedMatrix packed(Tensor::FromF32({out, width}, std::move(weight)), type);
      const double rate = MeasureReadBandwidth(packed.bytes(), pool);
      const double limit = peak[IsQuantized(type) ? QuantFormatOf(type).bits : 32];
      for (const int64_t rows : {1, 4, 16, 64, 512}) {
        std::vector<float> x(static_cast<size_t>(rows * width));
        for (float& value : x) value = static_cast<float>(rng.Normal());
        std::vector<float> y(static_cast<size_t>(rows * out));
        const double work = 2.0 * static_cast<double>(rows * width * out);
        const auto repeats = static_cast<int64_t>(std::max(1.0, 2e7 / work));
        const double seconds = Fastest([&] {
                                 for (int64_t i = 0; i < repeats; ++i) {
                                   MatMul(packed, x.data(), rows, y.data(), false, pool);
                                 }
                               }) /
                               static_cast<double>(repeats);
        const double bytes = static_cast<double>(packed.bytes()) / seconds;
        std::printf("%5s %6ld %6ld %5ld %9.1f %9.0f %8.1f %5.0f%% %8.1f %5.0f%%\n",
                    Info(type).name.data(), static_cast<long>(out), static_cast<long>(width),
                    static_cast<long>(rows), 1e6 * seconds,
                    static_cast<double>(packed.bytes()) / 1024, bytes / 1e9, 100 * bytes / rate,
                    work / seconds / 1e9, 100 * work / seconds / limit);
        std::fflush(stdout);
      }
    }
  }
}

}  // namespace
}  // namespace rondo

int main(int argc, char** argv) try {
  rondo::ThreadPool pool(argc > 1 ? std::atoi(argv[1]) : 0);
  std::vector<rondo::DType> types;
  for (int i = 2; i < argc; ++i) types.push_back(rondo::DTypeFromName(argv[i]));
  if (types.empty()) {
    using enum rondo::DType;
    types = {kF32,  kBF16, kQ8_0, kQ4_0, kQ4_1, kQ5_0, kQ5_1,
             kQ4_K, kQ5_K, kQ6_K, kQ2_0, kQ2_1, kQ3_0, kQ3_1};
  }
  rondo::Run(pool, types);
} catch (const rondo::Error& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
