#include "kernels/bandwidth.h"

#include <algorithm>
#include <cstring>

#include "base/stopwatch.h"
#include "base/thread_pool.h"
#include "kernels/aligned_buffer.h"
#include "kernels/peak.h"

namespace rondo {

double MeasureReadBandwidth(uint64_t bytes, ThreadPool& pool) {
  constexpr uint64_t kReadInAll = uint64_t{1} << 30;
  constexpr uint64_t kGrain = 256;  // of ReadLoop
  const auto threads = static_cast<uint64_t>(pool.threads());
  const uint64_t part = std::max(bytes / threads / kGrain, uint64_t{1}) * kGrain;
  const uint64_t total = part * threads;
  const uint64_t passes = std::clamp(kReadInAll / total, uint64_t{5}, uint64_t{1000});
  AlignedBuffer buffer(total);
  // Untouched pages would all be the same page of zeros.
  std::memset(buffer.as<std::byte>(), 1, total);
  double best = 0;
  for (uint64_t pass = 0; pass < passes; ++pass) {
    const Stopwatch watch;
    pool.ParallelFor(pool.threads(), [&](int64_t i) {
      ReadLoop(buffer.as<std::byte>() + static_cast<uint64_t>(i) * part,
               static_cast<int64_t>(part));
    });
    best = std::max(best, static_cast<double>(total) / watch.Seconds());
  }
  return best;
}

}  // namespace rondo
