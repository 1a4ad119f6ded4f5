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
  if (!std::filesystem::exists(path)) return {{"starts", json::array()}};
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
  return {.names = {{"version", std::string(BuildVersion())},
                    {"commit", std::string(BuildCommit())},
                    {"libtorch", TORCH_VERSION},
                    {"cpu", CpuModel()},
                    {"instruction_set", KernelTarget()}},
          .threads = at::get_num_threads(),
          .ranks = ranks.size()};
}

void AddTo(RunMetrics& metrics, const Provenance& p) {
  metrics.event = "run";
  metrics.text = "rondo " + p.names.at("version") + " (" + p.names.at("commit") + ") on " +
                 p.names.at("cpu") + ", " + p.names.at("instruction_set") + ", " +
                 std::to_string(p.threads) + " threads";
  metrics.names = p.names;
  metrics.more["threads"] = p.threads;
  metrics.more["ranks"] = p.ranks;
}

void AddRunStart(const std::string& path, int64_t step, const Provenance& p) {
  json start = p.names;
  start["step"] = step;
  start["threads"] = p.threads;
  start["ranks"] = p.ranks;
  json run = ReadStarts(path);
  run["starts"].push_back(std::move(start));
  WriteTextFile(path, run.dump(1) + "\n");
}

}  // namespace rondo
