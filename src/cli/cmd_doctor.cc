#include <filesystem>
#include <string>
#include <vector>

#include "base/machine.h"
#include "base/strings.h"
#include "cli/options.h"
#include "cli/output.h"
#include "kernels/bandwidth.h"
#include "kernels/simd_targets.h"
#include "rondo/thread_pool.h"

namespace rondo::cli {
namespace {

std::vector<std::string> CpuFeatures() {
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
  return found;
}

// What a user will want and this machine lacks.
std::vector<std::string> Missing() {
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
  return missing;
}

}  // namespace

int RunDoctor(const DoctorOptions&, const CommonOptions& common) {
  ThreadPool pool(common.threads);
  Output out;
  const std::vector<std::string> features = CpuFeatures(), sets = KernelTargets();
  const std::vector<std::string> missing = Missing();
  out.Add("cpu_features", Join(features, " "));
  out.AddJson("cpu_feature_list", JsonArray(features));
  out.Add("instruction_sets", Join(sets, ", "));
  out.AddJson("instruction_set_list", JsonArray(sets));
  out.Add("cpus", AvailableCpus());
  out.Add("threads", pool.threads());
  out.Add("memory_bytes", PhysicalMemoryBytes());
  out.Add("l2_bytes", DataCacheBytes(2));
  out.Add("l3_bytes", DataCacheBytes(3));
  out.Add("memory_read_gb_per_s", MeasureReadBandwidth(kMemoryBandwidthBuffer, pool) / 1e9);
  out.Add("missing", missing.empty() ? "nothing" : Join(missing, "; "));
  out.AddJson("missing_list", JsonArray(missing));
  out.Print(common.json);
  return 0;
}

}  // namespace rondo::cli
