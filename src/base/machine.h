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
// Memory of its own that this process may write: heap, buffers, data. Mapped files are not in it.
int64_t DataMemoryBytes();
// What the machine can give without swapping, by the system's estimate; 0 where it does not tell.
int64_t AvailableMemoryBytes();

}  // namespace rondo
