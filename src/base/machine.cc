#include "base/machine.h"

#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <string>

namespace rondo {
namespace {

// Not sysconf(): on some processors it gives the last caches of the whole package added together.
int64_t SysfsCacheBytes(int level) {
  for (int index = 0;; ++index) {
    const std::string base = "/sys/devices/system/cpu/cpu0/cache/index" + std::to_string(index);
    int found_level = 0;
    if (!(std::ifstream(base + "/level") >> found_level)) return 0;
    std::string type;
    std::ifstream(base + "/type") >> type;
    int64_t kibibytes = 0;  // the file reads "512K"
    if (found_level == level && type != "Instruction" &&
        std::ifstream(base + "/size") >> kibibytes) {
      return kibibytes * 1024;
    }
  }
}

// A line "Name:  123 kB" of a file of the system's.
int64_t BytesIn(const char* file, const std::string& name) {
  std::ifstream status(file);
  for (std::string line; std::getline(status, line);) {
    if (!line.starts_with(name + ":")) continue;
    long long kibibytes = 0;
    std::sscanf(line.c_str() + name.size() + 1, "%lld", &kibibytes);
    return kibibytes * 1024;
  }
  return 0;
}

int64_t StatusBytes(const char* name) { return BytesIn("/proc/self/status", name); }

}  // namespace

std::string CpuModel() {
  std::ifstream cpus("/proc/cpuinfo");
  for (std::string line; std::getline(cpus, line);) {
    const size_t colon = line.find(": ");
    if (line.starts_with("model name") && colon != line.npos) return line.substr(colon + 2);
  }
  utsname system{};
  return uname(&system) == 0 ? system.machine : "unknown";
}

int64_t PhysicalMemoryBytes() { return int64_t{sysconf(_SC_PHYS_PAGES)} * sysconf(_SC_PAGESIZE); }

int64_t DataCacheBytes(int level) {
  if (const int64_t bytes = SysfsCacheBytes(level); bytes > 0) return bytes;
  const int name = level == 1   ? _SC_LEVEL1_DCACHE_SIZE
                   : level == 2 ? _SC_LEVEL2_CACHE_SIZE
                                : _SC_LEVEL3_CACHE_SIZE;
  return std::max<int64_t>(0, sysconf(name));
}

int64_t PeakMemoryBytes() {
  // Not getrusage: its maximum is inherited from the parent process over fork and exec.
  return StatusBytes("VmHWM");
}

int64_t ResidentMemoryBytes() { return StatusBytes("VmRSS"); }

int64_t DataMemoryBytes() { return StatusBytes("VmData"); }

int64_t AvailableMemoryBytes() { return BytesIn("/proc/meminfo", "MemAvailable"); }

}  // namespace rondo
