// How fast this machine reads its memory, as a user of all its threads sees it.
#pragma once

#include <cstdint>

namespace rondo {

class ThreadPool;

// Bytes a second that all threads together read from a buffer of about `bytes`, allocated here: the
// best of many passes, since other programs on the machine only ever lower it. A buffer far larger
// than the last cache measures memory, one of half its size measures that cache.
double MeasureReadBandwidth(uint64_t bytes, ThreadPool& pool);

// A buffer that measures memory.
inline constexpr uint64_t kMemoryBandwidthBuffer = uint64_t{256} << 20;

}  // namespace rondo
