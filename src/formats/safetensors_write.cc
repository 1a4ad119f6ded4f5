#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "formats/safetensors.h"
#include "rondo/error.h"

namespace rondo {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

// Data starts at a multiple of this, so that mapped tensors can be read with wide loads.
constexpr size_t kHeaderAlignment = 64;

[[noreturn]] void Fail(const std::string& path, const std::string& tensor, std::string problem,
                       std::string expected) {
  throw Error({.function = "WriteSafetensors",
               .problem = std::move(problem),
               .expected = std::move(expected),
               .file = path,
               .field = tensor});
}

const char* DTypeName(const TensorSource& source, const std::string& path) {
  switch (source.dtype) {
    case DType::kF32:
      return "F32";
    case DType::kF16:
      return "F16";
    case DType::kBF16:
      return "BF16";
    default:
      Fail(path, source.name, "type " + std::string(Info(source.dtype).name), "f32, f16 or bf16");
  }
}

// Length and JSON of the header, padded with spaces.
std::string MakeHeader(std::span<const TensorSource> tensors, const std::string& path) {
  Json header = Json::object();
  header["__metadata__"] = {{"format", "pt"}};  // transformers refuses files without it
  uint64_t offset = 0;
  for (const TensorSource& source : tensors) {
    const uint64_t end = offset + StorageBytes(source.dtype, source.shape);
    if (header.contains(source.name)) Fail(path, source.name, "name given twice", "unique names");
    header[source.name] = {{"dtype", DTypeName(source, path)},
                           {"shape", source.shape},
                           {"data_offsets", {offset, end}}};
    offset = end;
  }
  std::string text = header.dump();
  constexpr size_t kLengthBytes = 8;
  while ((kLengthBytes + text.size()) % kHeaderAlignment != 0) text += ' ';
  std::string out;
  for (size_t i = 0; i < kLengthBytes; ++i) out += static_cast<char>(text.size() >> (8 * i) & 0xff);
  return out + text;
}

void WriteFile(const std::string& path, std::span<const TensorSource> tensors) {
  const std::string header = MakeHeader(tensors, path);
  AtomicFile file(path);
  file.Write(header);
  for (const TensorSource& source : tensors) {
    const Tensor tensor = source.make();
    if (tensor.dtype() != source.dtype || tensor.shape() != source.shape) {
      Fail(path, source.name, "shape " + ToString(tensor.shape()) + " was made",
           ToString(source.shape) + " of type " + std::string(Info(source.dtype).name));
    }
    file.Write(tensor.bytes().data(), tensor.bytes().size());
  }
  file.Commit();
}

// Ranges [begin, end) of tensors, one a shard.
std::vector<std::pair<size_t, size_t>> SplitShards(const std::vector<TensorSource>& tensors,
                                                   uint64_t max_bytes) {
  std::vector<std::pair<size_t, size_t>> shards;
  size_t begin = 0;
  uint64_t bytes = 0;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const uint64_t size = StorageBytes(tensors[i].dtype, tensors[i].shape);
    if (i > begin && bytes + size > max_bytes) {
      shards.emplace_back(begin, i);
      begin = i;
      bytes = 0;
    }
    bytes += size;
  }
  shards.emplace_back(begin, tensors.size());
  return shards;
}

std::string ShardName(size_t number, size_t count) {
  char name[64];
  std::snprintf(name, sizeof(name), "model-%05zu-of-%05zu.safetensors", number, count);
  return name;
}

}  // namespace

void WriteSafetensors(const std::string& path,
                      const std::vector<std::pair<std::string, Tensor>>& tensors) {
  std::vector<TensorSource> sources;
  for (const auto& [name, tensor] : tensors) {
    sources.push_back(
        {name, tensor.dtype(), tensor.shape(), [source = &tensor] { return *source; }});
  }
  WriteFile(path, sources);
}

void WriteSafetensorsModel(const std::string& directory, const std::vector<TensorSource>& tensors,
                           uint64_t max_shard_bytes) {
  const fs::path base(directory);
  const auto shards = SplitShards(tensors, max_shard_bytes);
  if (shards.size() == 1) return WriteFile((base / "model.safetensors").string(), tensors);
  uint64_t total = 0;
  Json weight_map = Json::object();
  for (size_t s = 0; s < shards.size(); ++s) {
    const auto [begin, end] = shards[s];
    const std::string name = ShardName(s + 1, shards.size());
    const std::span shard = std::span(tensors).subspan(begin, end - begin);
    WriteFile((base / name).string(), shard);
    for (const TensorSource& source : shard) {
      total += StorageBytes(source.dtype, source.shape);
      weight_map[source.name] = name;
    }
  }
  const Json index = {{"metadata", {{"total_size", total}}}, {"weight_map", weight_map}};
  WriteTextFile((base / "model.safetensors.index.json").string(), index.dump(2) + "\n");
}

}  // namespace rondo
