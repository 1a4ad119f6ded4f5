#include "kernels/bandwidth.h"

#include <algorithm>
#include <cstring>

#include "base/stopwatch.h"
#include "kernels/aligned_buffer.h"
#include "kernels/peak.h"
#include "rondo/thread_pool.h"

namespace rondo {

double MeasureReadBandwidth(uint64_t bytes, ThreadPool& pool) {
  constexpr uint64_t kReadInAll = uint64_t{1} << 30;
  constexpr uint64_t kReadInJob = uint64_t{8} << 20;
  constexpr uint64_t kGrain = 256;  // of ReadLoop
  const auto threads = static_cast<uint64_t>(pool.threads());
  const uint64_t part = std::max(bytes / threads / kGrain, uint64_t{1}) * kGrain;
  const uint64_t total = part * threads;
  // Several passes over a small buffer in one job, so that waking the threads does not count.
  const uint64_t passes = std::max(kReadInJob / total, uint64_t{1});
  const uint64_t jobs = std::max(kReadInAll / (total * passes), uint64_t{5});
  AlignedBuffer buffer(total);
  // Untouched pages would all be the same page of zeros.
  std::memset(buffer.as<std::byte>(), 1, total);
  double best = 0;
  for (uint64_t job = 0; job < jobs; ++job) {
    const Stopwatch watch;
    pool.ParallelFor(pool.threads(), [&](int64_t i) {
      const std::byte* mine = buffer.as<std::byte>() + static_cast<uint64_t>(i) * part;
      for (uint64_t pass = 0; pass < passes; ++pass) ReadLoop(mine, static_cast<int64_t>(part));
    });
    best = std::max(best, static_cast<double>(total * passes) / watch.Seconds());
  }
  return best;
}

}  // namespace rondo
