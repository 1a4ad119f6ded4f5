#include <algorithm>
#include <set>
#include <vector>

#include "eval/bench.h"

namespace rondo {
namespace {

// Bytes of different weights read since the weight at `at` was read before, itself included; the
// steps follow each other without end. A cache that evicts what was used longest ago still holds
// it if and only if it is at least as large.
uint64_t ReuseDistance(std::span<const WeightRead> reads, size_t at) {
  std::set<int> seen;
  uint64_t bytes = 0;
  size_t i = at;
  do {
    if (seen.insert(reads[i].tensor).second) bytes += reads[i].bytes;
    i = (i == 0 ? reads.size() : i) - 1;
  } while (reads[i].tensor != reads[at].tensor);
  return bytes;
}

}  // namespace

DecodeTraffic EstimateTraffic(std::span<const WeightRead> reads, uint64_t kv_bytes_per_sequence,
                              int batch, uint64_t cache_bytes) {
  DecodeTraffic traffic;
  for (size_t at = 0; at < reads.size(); ++at) {
    const double bytes = static_cast<double>(reads[at].bytes) / batch;
    (ReuseDistance(reads, at) <= cache_bytes ? traffic.cached_weights : traffic.memory_weights) +=
        bytes;
  }
  traffic.kv = static_cast<double>(kv_bytes_per_sequence);
  return traffic;
}

double BenchResult::CeilingTokensPerSecond() const {
  const double seconds =
      (traffic.BytesPerToken() > 0 ? traffic.BytesPerToken() / memory_bytes_per_second : 0) +
      (traffic.cached_weights > 0 ? traffic.cached_weights / cache_bytes_per_second : 0);
  return seconds > 0 ? 1 / seconds : 0;
}

}  // namespace rondo
