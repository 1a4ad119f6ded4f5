#include "cli/outputs.h"

#include <cstdio>

#include "base/strings.h"
#include "hub/gguf_common.h"
#include "rondo/weights.h"

namespace rondo::cli {

void PrepareDirectory(const std::string& out, const OutputRules& rules, uint64_t bytes) {
  CheckOutputDirectory(out, rules);
  CheckRoom(out, /*directory=*/true, bytes);
  if (!rules.force || !PathExists(out)) return;
  const std::vector<std::string> foreign = ForeignFiles(out);
  if (foreign.empty()) return;
  std::fprintf(stderr, "rondo: --force: %s will be deleted from %s\n", Join(foreign, ", ").c_str(),
               out.c_str());
}

void PrepareFile(const std::string& out, const OutputRules& rules, uint64_t bytes) {
  CheckOutputFile(out, rules);
  CheckRoom(out, /*directory=*/false, bytes);
}

void PrepareGguf(const std::string& out, const OutputRules& rules, uint64_t bytes) {
  CheckGgufTarget(out, rules);
  CheckRoom(out, /*directory=*/false, bytes);
}

uint64_t StoredBytes(const ModelConfig& config, const SharingPlan& plan, DType store) {
  uint64_t bytes = 0;
  for (const TensorSpec& spec : ExpectedTensors(config, plan)) {
    bytes += StorageBytes(spec.shape.size() < 2 ? DType::kF32 : store, spec.shape);
  }
  return bytes;
}

}  // namespace rondo::cli
