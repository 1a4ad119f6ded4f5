#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "base/file.h"
#include "base/json.h"
#include "formats/safetensors.h"
#include "rondo/error.h"

namespace rondo {
namespace {

namespace fs = std::filesystem;

// A shard is a plain file beside the index; anything else could reach outside the model directory.
bool IsPlainShardName(const std::string& name) {
  return name.ends_with(".safetensors") && name.find('/') == std::string::npos &&
         name.find('\\') == std::string::npos && name.find('\0') == std::string::npos;
}

// Tensor name -> shard name.
std::map<std::string, std::string> ReadIndex(const std::string& path) {
  const nlohmann::json json = ParseJsonChecked(ReadTextFile(path), path);
  JsonObject index(json, "ReadSafetensorsModel", path);
  JsonObject weight_map = index.Object("weight_map");
  if (index.Find("metadata") != nullptr) index.Object("metadata");
  index.RefuseUnknownKeys();
  std::map<std::string, std::string> shards;
  for (const std::string& tensor : weight_map.Keys()) {
    const std::string shard = weight_map.String(tensor);
    if (!IsPlainShardName(shard)) {
      weight_map.Fail(tensor, "shard '" + shard + "'", "a .safetensors file beside the index");
    }
    shards[tensor] = shard;
  }
  return shards;
}

TensorMap ReadShards(const fs::path& directory, const std::string& index_path,
                     const TensorFilter& wanted) {
  const std::map<std::string, std::string> index = ReadIndex(index_path);
  const auto fail = [](const std::string& file, const std::string& tensor, std::string problem,
                       std::string expected) {
    throw Error({.function = "ReadSafetensorsModel",
                 .problem = std::move(problem),
                 .expected = std::move(expected),
                 .file = file,
                 .field = tensor});
  };
  std::set<std::string> shards;
  for (const auto& [tensor, shard] : index) shards.insert(shard);
  TensorMap all;
  for (const std::string& shard : shards) {
    const std::string path = (directory / shard).string();
    if (!IsRegularFile(path)) fail(index_path, shard, "shard is missing", "a file");
    for (auto& [name, tensor] : ReadSafetensors(path, wanted)) {
      const auto entry = index.find(name);
      if (entry == index.end() || entry->second != shard) {
        fail(path, name, "tensor that the index does not place here",
             entry == index.end() ? "only tensors of the index" : "it in " + entry->second);
      }
      all[name] = tensor;
    }
  }
  for (const auto& [name, shard] : index) {
    if (!all.contains(name) && (!wanted || wanted(name))) {
      fail((directory / shard).string(), name, "tensor that the index names is missing", "");
    }
  }
  return all;
}

}  // namespace

TensorMap ReadSafetensorsModel(const std::string& directory, const TensorFilter& wanted) {
  const fs::path base(directory);
  const fs::path single = base / "model.safetensors";
  if (PathExists(single)) return ReadSafetensors(single.string(), wanted);
  const fs::path index = base / "model.safetensors.index.json";
  if (PathExists(index)) return ReadShards(base, index.string(), wanted);
  throw Error({.function = "ReadSafetensorsModel",
               .problem = "no weights",
               .expected = "model.safetensors or model.safetensors.index.json",
               .file = directory,
               .field = {}});
}

}  // namespace rondo
