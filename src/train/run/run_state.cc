#include "train/run/run_state.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "base/file.h"
#include "base/glob.h"
#include "base/json.h"
#include "formats/safetensors.h"
#include "rondo/error.h"

namespace rondo {
namespace {

namespace fs = std::filesystem;

// Names sort in the order of writing.
std::string NameOf(const RunState& state) {
  char name[48];
  std::snprintf(name, sizeof name, "stage-%02d-step-%08lld", state.stage,
                static_cast<long long>(state.step));
  return name;
}

nlohmann::json ToJson(const RunState& s) {
  return {{"format", 1},
          {"stage", s.stage},
          {"step", s.step},
          {"tokens", s.tokens},
          {"seconds", s.seconds},
          {"stage_step", s.stage_step},
          {"stage_tokens", s.stage_tokens},
          {"stage_seconds", s.stage_seconds},
          {"loss_mean", s.loss_mean},
          {"next_row", s.sampler.next_row},
          {"data", s.sampler.data}};
}

RunState FromJson(const nlohmann::json& json, const std::string& file) {
  try {
    if (json.at("format").get<int>() != 1) {
      throw Error({.function = "FindCheckpoint",
                   .problem = "format " + json.at("format").dump(),
                   .expected = "1",
                   .file = file,
                   .field = "format"});
    }
    return {.stage = json.at("stage").get<int>(),
            .step = json.at("step").get<int64_t>(),
            .tokens = json.at("tokens").get<int64_t>(),
            .seconds = json.at("seconds").get<double>(),
            .stage_step = json.at("stage_step").get<int64_t>(),
            .stage_tokens = json.at("stage_tokens").get<int64_t>(),
            .stage_seconds = json.at("stage_seconds").get<double>(),
            .loss_mean = json.at("loss_mean").get<double>(),
            .sampler = {json.at("next_row").get<uint64_t>(), json.at("data").get<uint64_t>()}};
  } catch (const nlohmann::json::exception& error) {
    throw Error({.function = "FindCheckpoint",
                 .problem = error.what(),
                 .expected = "the state of a run",
                 .file = file});
  }
}

// Names of whole checkpoints, oldest first.
std::vector<std::string> WholeCheckpoints(const fs::path& folder) {
  std::vector<std::string> names;
  if (!PathExists(folder)) return names;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    // In two pieces: "??-" would be a trigraph.
    if (entry.is_directory() && GlobMatch("stage-?"
                                          "?-step-????????",
                                          name)) {
      names.push_back(name);
    }
  }
  std::ranges::sort(names);
  return names;
}

// The directory goes first, so that no directory is ever without its state.
void RemoveCheckpoint(const fs::path& folder, const std::string& name) {
  fs::remove_all(folder / name);
  fs::remove(folder / (name + ".safetensors"));
  fs::remove(folder / (name + ".json"));
}

// One of the arrays that the state of `elements` values consists of.
at::Tensor FlatArray(const TensorMap& tensors, const std::string& file, const std::string& name,
                     int64_t elements) {
  const auto found = tensors.find(name);
  if (found == tensors.end() || found->second.elements() != elements) {
    throw Error({.function = "LoadOptimizer",
                 .problem = "state of other parameters",
                 .expected = std::to_string(elements) + " values",
                 .file = file,
                 .field = name});
  }
  return ToTorch(found->second).view({elements});
}

}  // namespace

void RunState::Advance(int64_t step_tokens, double step_seconds) {
  ++step;
  ++stage_step;
  tokens += step_tokens;
  stage_tokens += step_tokens;
  seconds += step_seconds;
  stage_seconds += step_seconds;
}

void RunState::NextStage() {
  ++stage;
  stage_step = stage_tokens = 0;
  stage_seconds = loss_mean = 0;
}

bool Cadence::Due(const RunState& state) const {
  return (minutes > 0 && state.seconds - last >= 60 * minutes) ||
         (steps > 0 && state.step % steps == 0);
}

void SaveCheckpoint(const std::string& folder, const RunState& state, const Params& params,
                    const OptimizerState& optimizer, int keep, const CheckpointExtras& extras) {
  MakeDirectories(folder);
  const std::string base = (fs::path(folder) / NameOf(state)).string();
  if (PathExists(base)) return;
  std::vector<std::pair<std::string, Tensor>> tensors = {{"m", ViewTorch(optimizer.m)},
                                                         {"v", ViewTorch(optimizer.v)}};
  if (optimizer.average.defined()) tensors.emplace_back("average", ViewTorch(optimizer.average));
  for (const Param* param : params.List()) {
    if (!IsBeside(param->name)) continue;
    tensors.emplace_back(
        param->name,
        ViewTorch(param->trained() ? Params::Part(params.flat(), *param) : param->value));
  }
  nlohmann::json json = ToJson(state);
  json["updates"] = optimizer.updates;
  if (!optimizer.born.empty()) json["born"] = optimizer.born;
  if (extras.tying != nullptr) {
    json["tying"] = extras.tying->Save();
    for (auto& tensor : extras.tying->SaveTensors()) tensors.push_back(std::move(tensor));
  }
  try {
    WriteSafetensors(base + ".safetensors", tensors);
    WriteTextFile(base + ".json", json.dump(1));
    if (extras.write) {
      extras.write(params.ToModel(), base);
    } else {
      SaveModel(params.ToModel(), base, DType::kF32);
    }
  } catch (...) {
    RemoveCheckpoint(folder, NameOf(state));  // the next one needs the room
    throw;
  }
  std::vector<std::string> names = WholeCheckpoints(folder);
  const size_t surplus = names.size() - std::min(names.size(), static_cast<size_t>(keep));
  for (size_t i = 0; i < surplus; ++i) RemoveCheckpoint(folder, names[i]);
}

void RemoveLeftovers(const std::string& folder) {
  if (!PathExists(folder)) return;
  std::vector<fs::path> leftovers;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const fs::path& path = entry.path();
    const bool part = path.extension() == ".safetensors" || path.extension() == ".json";
    if (IsTemporaryPath(path) || (part && !PathExists(fs::path(path).replace_extension()))) {
      leftovers.push_back(path);
    }
  }
  for (const fs::path& path : leftovers) fs::remove_all(path);
}

std::optional<FoundCheckpoint> FindCheckpoint(const std::string& folder) {
  const std::vector<std::string> names = WholeCheckpoints(folder);
  if (names.empty()) return {};
  const std::string base = (fs::path(folder) / names.back()).string();
  const std::string file = base + ".json";
  return FoundCheckpoint{.state = FromJson(ParseJsonChecked(ReadTextFile(file), file), file),
                         .model = base,
                         .tensors = base + ".safetensors",
                         .numbers = file};
}

void LoadCopies(const FoundCheckpoint& checkpoint, Params& params) {
  if (params.copies().empty()) return;
  const at::NoGradGuard no_grad;
  const TensorMap tensors = ReadSafetensors(checkpoint.tensors);
  for (const Param* param : params.List()) {
    if (!IsCopy(param->name)) continue;
    at::Tensor part = Params::Part(params.flat(), *param);
    part.copy_(FlatArray(tensors, checkpoint.tensors, param->name, param->elements).view_as(part));
  }
}

void LoadGrids(const FoundCheckpoint& checkpoint, const RoundTypes& types, Model& model) {
  const TensorMap tensors = ReadSafetensors(checkpoint.tensors);
  const auto load = [&](const std::string& name) {
    const auto found = tensors.find(name);
    if (found == tensors.end()) {
      throw Error({.function = "LoadGrids",
                   .problem = "no such tensor",
                   .expected = "the state of a run with the same rounded tensors",
                   .file = checkpoint.tensors,
                   .field = name});
    }
    model.weights.Set(name, found->second);
  };
  for (const auto& [name, dtype] : types) {
    load(ScaleName(name));
    if (HasOffsets(dtype)) load(OffsetName(name));
  }
}

void LoadTies(const FoundCheckpoint& checkpoint, Tying& tying) {
  const std::string& file = checkpoint.numbers;
  const nlohmann::json json = ParseJsonChecked(ReadTextFile(file), file);
  const auto stored = json.find("tying");
  if (stored == json.end()) {
    throw Error({.function = "LoadTies",
                 .problem = "no ties",
                 .expected = "the state of a run whose layers are tied",
                 .file = file,
                 .field = "tying"});
  }
  tying.Load(*stored, file, checkpoint.tensors);
}

OptimizerState LoadOptimizer(const FoundCheckpoint& checkpoint, int64_t elements) {
  const TensorMap tensors = ReadSafetensors(checkpoint.tensors);
  const auto load = [&](const char* name) {
    return FlatArray(tensors, checkpoint.tensors, name, elements);
  };
  const std::string& file = checkpoint.numbers;
  const nlohmann::json json = ParseJsonChecked(ReadTextFile(file), file);
  OptimizerState state{.m = load("m"), .v = load("v")};
  if (tensors.contains("average")) state.average = load("average");
  state.updates = json.value("updates", int64_t{0});
  state.born = json.value("born", state.born);
  return state;
}

}  // namespace rondo
