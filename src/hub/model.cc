#include "rondo/model.h"

#include <filesystem>
#include <utility>

#include "base/file.h"
#include "base/with_file.h"
#include "formats/safetensors.h"
#include "hub/gguf_model.h"
#include "hub/hf_tensors.h"
#include "hub/llama2c_model.h"
#include "hub/model_directory.h"
#include "hub/native_config.h"
#include "rondo/error.h"

namespace rondo {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void Fail(const char* function, const std::string& path, std::string problem,
                       std::string expected) {
  throw Error({.function = function,
               .problem = std::move(problem),
               .expected = std::move(expected),
               .file = path,
               .field = {}});
}

constexpr const char* kAccepted =
    "a directory with config.json, a .gguf file or a llama2.c .bin file";

// Vectors (gains, biases, diagonals) are f32 in memory and on disk; matrices keep their type.
bool IsVector(const Shape& shape) { return shape.size() < 2; }

Weights ReadNativeWeights(const std::string& directory) {
  Weights weights;
  for (auto& [name, tensor] : ReadSafetensorsModel(directory)) {
    weights.Set(name, IsVector(tensor.shape()) ? Cast(tensor, DType::kF32) : tensor);
  }
  return weights;
}

Weights ReadWeights(const std::string& directory, const ConfigFile& file) {
  if (file.native) return ReadNativeWeights(directory);
  const auto wanted = [&](std::string_view name) { return IsHfWeight(file.config, name); };
  return ReadHfWeights(file.config, ReadSafetensorsModel(directory, wanted), directory);
}

ConfigFile ReadConfig(const std::string& path) {
  constexpr uint64_t kMaxBytes = 16 << 20;
  return ParseConfigFile(ReadTextFile(path, kMaxBytes), path);
}

Model LoadDirectory(const std::string& path, LoadParts parts) {
  const std::string config_path = (fs::path(path) / "config.json").string();
  if (!PathExists(config_path)) Fail("LoadModel", path, "no config.json in it", kAccepted);
  const ConfigFile file = ReadConfig(config_path);
  Model model{.config = file.config, .plan = file.plan, .weights = {}, .path = path};
  if (parts == LoadParts::kAll) model.weights = ReadWeights(path, file);
  return model;
}

Model LoadConfigFile(const std::string& path, LoadParts parts) {
  if (parts != LoadParts::kConfig) {
    Fail("LoadModel", path, "a configuration without weights", "the directory it is in");
  }
  const ConfigFile file = ReadConfig(path);
  return {.config = file.config, .plan = file.plan, .weights = {}, .path = path};
}

Model LoadAny(const std::string& path, LoadParts parts) {
  if (!PathExists(path)) Fail("LoadModel", path, "no such file or directory", kAccepted);
  if (IsDirectory(path)) return LoadDirectory(path, parts);
  const std::string extension = fs::path(path).extension().string();
  if (extension == ".json") return LoadConfigFile(path, parts);
  if (extension == ".gguf") return LoadGgufModel(path, parts);
  if (extension == ".bin") return LoadLlama2c(path, parts);
  if (extension == ".safetensors") {
    Fail("LoadModel", path, "weights without a configuration", "the directory they are in");
  }
  Fail("LoadModel", path, "not a model", kAccepted);
}

std::vector<TensorSource> NativeSources(const Model& model, DType store) {
  std::vector<TensorSource> sources;
  for (const TensorSpec& spec : ExpectedTensors(model.config, model.plan)) {
    const DType dtype = IsVector(spec.shape) ? DType::kF32 : store;
    const Tensor& tensor = model.weights.Get(spec.name);
    sources.push_back(
        {.name = spec.name, .dtype = dtype, .shape = spec.shape, .make = [&tensor, dtype] {
           return Cast(tensor, dtype);
         }});
  }
  return sources;
}

}  // namespace

Model LoadModel(const std::string& path, LoadParts parts) {
  return WithFile(path, [&] {
    Model model = LoadAny(path, parts);
    model.config.Validate();
    model.plan.Validate(model.config);
    if (parts == LoadParts::kAll) CheckWeights(model.config, model.plan, model.weights, path);
    return model;
  });
}

void SaveModel(const Model& model, const std::string& directory, DType store,
               const SaveOptions& options) {
  model.config.Validate();
  model.plan.Validate(model.config);
  CheckWeights(model.config, model.plan, model.weights, model.path);
  const std::string config = NativeConfigText(model.config, model.plan, store);
  WriteModelDirectory(directory,
                      {.config = config,
                       .tensors = NativeSources(model, store),
                       .source = model.path,
                       .tokenizer = model.path},
                      options);
}

}  // namespace rondo
