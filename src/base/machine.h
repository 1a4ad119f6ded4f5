// What this machine has, as the system tells it.
#pragma once

#include <cstdint>
#include <string>

namespace rondo {

// The processor's name, "AMD EPYC 7B13"; where the system has none, its architecture.
std::string CpuModel();
int64_t PhysicalMemoryBytes();
// Size of one data cache of this level (1, 2 or 3) as the first CPU sees it; 0 where there is none
// or the system does not tell.
int64_t DataCacheBytes(int level);
// Largest resident set of this process so far, in bytes; 0 where the system does not tell.
int64_t PeakMemoryBytes();
// The resident set now.
int64_t ResidentMemoryBytes();

}  // namespace rondo
