#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <numeric>
#include <string>
#include <vector>

#include "base/strings.h"
#include "base/thread_pool.h"
#include "cli/options.h"
#include "cli/output.h"

namespace rondo::cli {
namespace {

std::string CpuFeatures() {
  std::vector<std::string> found;
#if defined(__x86_64__)
#define RONDO_FEATURE(name) \
  if (__builtin_cpu_supports(name)) found.emplace_back(name)
  RONDO_FEATURE("sse4.2");
  RONDO_FEATURE("avx2");
  RONDO_FEATURE("fma");
  RONDO_FEATURE("avx512f");
  RONDO_FEATURE("avx512bw");
  RONDO_FEATURE("avx512vnni");
  RONDO_FEATURE("avx512bf16");
#undef RONDO_FEATURE
#elif defined(__aarch64__)
  found.emplace_back("neon");
#endif
  return Join(found, " ");
}

// Bytes per second that all threads together read from memory: the best of several passes over a
// buffer far larger than any cache. Other programs on the machine lower it.
double MeasureReadBandwidth(ThreadPool& pool) {
  constexpr size_t kWords = size_t{32} << 20;  // 256 MiB
  constexpr int kPasses = 5;
  const std::vector<uint64_t> buffer(kWords, 1);
  std::vector<uint64_t> sums(static_cast<size_t>(pool.threads()) * 8);
  double best = 0;
  for (int pass = 0; pass < kPasses; ++pass) {
    const auto start = std::chrono::steady_clock::now();
    pool.ParallelFor(pool.threads(), [&](int64_t part) {
      const size_t begin = kWords * static_cast<size_t>(part) / static_cast<size_t>(pool.threads());
      const size_t end =
          kWords * static_cast<size_t>(part + 1) / static_cast<size_t>(pool.threads());
      uint64_t lanes[8] = {};
      for (size_t i = begin; i + 8 <= end; i += 8) {
        for (size_t lane = 0; lane < 8; ++lane) lanes[lane] += buffer[i + lane];
      }
      sums[static_cast<size_t>(part) * 8] = std::accumulate(lanes, lanes + 8, uint64_t{0});
    });
    const double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    // The sum is part of the result so that the reads cannot be optimised away.
    const uint64_t sum = std::accumulate(sums.begin(), sums.end(), uint64_t{0});
    if (sum > 0) best = std::max(best, sizeof(uint64_t) * kWords / seconds);
  }
  return best;
}

int64_t PhysicalMemory() { return int64_t{sysconf(_SC_PHYS_PAGES)} * sysconf(_SC_PAGESIZE); }

int64_t CacheBytes(int name) { return std::max<int64_t>(0, sysconf(name)); }

// What a user will want and this machine lacks.
std::string Missing() {
  std::vector<std::string> missing;
  std::error_code code;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", code);
  if (!std::filesystem::exists(self.parent_path() / "rondo-train", code)) {
    missing.emplace_back("rondo-train (training; needs LibTorch)");
  }
#if defined(__x86_64__)
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) {
    missing.emplace_back("AVX2 and FMA (kernels run in their portable form)");
  }
#endif
  return missing.empty() ? "nothing" : Join(missing, "; ");
}

}  // namespace

int RunDoctor(const CommonOptions& common) {
  ThreadPool pool(common.threads);
  Output out;
  out.Add("cpu_features", CpuFeatures());
  out.Add("cpus", AvailableCpus());
  out.Add("threads", pool.threads());
  out.Add("memory_bytes", PhysicalMemory());
  out.Add("l2_bytes", CacheBytes(_SC_LEVEL2_CACHE_SIZE));
  out.Add("l3_bytes", CacheBytes(_SC_LEVEL3_CACHE_SIZE));
  out.Add("memory_read_gb_per_s", MeasureReadBandwidth(pool) / 1e9);
  out.Add("missing", Missing());
  out.Print(common.json);
  return 0;
}

}  // namespace rondo::cli
