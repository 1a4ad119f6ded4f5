#include "kernels/simd_targets.h"

#include <atomic>

#include "rondo/error.h"

namespace rondo {
namespace {

struct Target {
  const char* name;
  int64_t bit;
  bool vnni;
};

constexpr Target kTargets[] = {
    {"avx512-vnni", HWY_AVX3, true}, {"avx512", HWY_AVX3, false}, {"avx2", HWY_AVX2, false},
    {"sse4", HWY_SSE4, false},       {"neon", HWY_NEON, false},   {"portable", HWY_SCALAR, false},
};

bool CpuHasVnni() {
#if HWY_ARCH_X86
  return __builtin_cpu_supports("avx512vnni");
#else
  return false;
#endif
}

std::atomic<bool> use_vnni{CpuHasVnni()};

// What the CPU has whatever was set before.
std::vector<Target> Available() {
  static const int64_t supported = [] {
    hwy::SetSupportedTargetsForTest(0);
    return hwy::SupportedTargets() & HWY_TARGETS;
  }();
  std::vector<Target> available;
  for (const Target& target : kTargets) {
    if ((supported & target.bit) != 0 && (!target.vnni || CpuHasVnni())) {
      available.push_back(target);
    }
  }
  return available;
}

int64_t chosen = 0;  // bit, 0: the best

}  // namespace

std::vector<std::string> KernelTargets() {
  std::vector<std::string> names;
  for (const Target& target : Available()) names.push_back(target.name);
  return names;
}

std::string KernelTarget() {
  for (const Target& target : Available()) {
    if ((chosen == 0 || target.bit == chosen) && target.vnni <= UseVnni()) return target.name;
  }
  return "portable";
}

void SetKernelTarget(std::string_view name) {
  const bool best = name == "auto";
  std::string names;
  for (const Target& target : Available()) {
    if (!best && name != target.name) {
      names += std::string(names.empty() ? "" : ", ") + target.name;
      continue;
    }
    chosen = best ? 0 : target.bit;
    use_vnni = best ? CpuHasVnni() : target.vnni;
    hwy::SetSupportedTargetsForTest(chosen);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
    return;
  }
  throw Error({.function = "SetKernelTarget",
               .problem = "instruction set '" + std::string(name) + "'",
               .expected = "auto, " + names});
}

bool UseVnni() { return use_vnni; }

}  // namespace rondo
