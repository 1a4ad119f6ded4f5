#include "cli/outputs.h"

#include <cstdio>

#include "base/strings.h"
#include "hub/gguf_common.h"
#include "rondo/weights.h"

namespace rondo::cli {
namespace {

uint64_t Bytes(const std::vector<TensorSpec>& tensors, const TensorTypes& types) {
  uint64_t bytes = 0;
  for (const TensorSpec& spec : tensors) {
    const auto found = types.find(spec.name);
    bytes += StorageBytes(found == types.end() ? DType::kF32 : found->second, spec.shape);
  }
  return bytes;
}

}  // namespace

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

uint64_t BytesToWrite(const Weights& weights, const TensorTypes& types) {
  std::vector<TensorSpec> tensors;
  for (const auto& [name, tensor] : weights) tensors.push_back({name, tensor.shape()});
  return Bytes(tensors, types);
}

uint64_t BytesToWrite(const ModelConfig& config, const SharingPlan& plan, DType store) {
  const std::vector<TensorSpec> tensors = ExpectedTensors(config, plan);
  TensorTypes types;
  for (const TensorSpec& spec : tensors) {
    if (spec.shape.size() > 1) types[spec.name] = store;
  }
  return Bytes(tensors, types);
}

}  // namespace rondo::cli
