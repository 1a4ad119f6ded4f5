#include "train/run/provenance.h"

#include <torch/headeronly/version.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/build_info.h"
#include "base/file.h"
#include "base/json.h"
#include "base/machine.h"
#include "kernels/simd_targets.h"
#include "rondo/error.h"

namespace rondo {
namespace {

using nlohmann::json;

json ReadStarts(const std::string& path) {
  if (!PathExists(path)) return {{"starts", json::array()}};
  json run = ParseJsonChecked(ReadTextFile(path), path);
  if (run.is_object() && run.contains("starts") && run["starts"].is_array()) return run;
  throw Error({.function = "Train",
               .problem = "no list of starts",
               .expected = "what a run wrote",
               .file = path,
               .field = "starts"});
}

}  // namespace

Provenance ProvenanceOf(const Ranks& ranks) {
  return {{"version", std::string(BuildVersion())},
          {"commit", std::string(BuildCommit())},
          {"libtorch", TORCH_VERSION},
          {"cpu", CpuModel()},
          {"instruction_set", KernelTarget()},
          {"threads", std::to_string(at::get_num_threads())},
          {"ranks", std::to_string(ranks.size())}};
}

void AddTo(RunMetrics& metrics, const Provenance& p) {
  metrics.event = "run";
  metrics.text = "rondo " + p.at("version") + " (" + p.at("commit") + ") on " + p.at("cpu") + ", " +
                 p.at("instruction_set") + ", threads: " + p.at("threads");
  metrics.names = p;
}

void AddRunStart(const std::string& path, int64_t step, const Provenance& p) {
  json start = p;
  start["step"] = step;
  json run = ReadStarts(path);
  run["starts"].push_back(std::move(start));
  WriteTextFile(path, run.dump(1) + "\n");
}

}  // namespace rondo
