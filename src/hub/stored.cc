#include "hub/stored.h"

#include <algorithm>
#include <filesystem>
#include <map>

#include "base/file.h"
#include "formats/file_kind.h"
#include "formats/gguf.h"

namespace rondo {
namespace {

namespace fs = std::filesystem;

bool IsGgufFile(const std::string& path) {
  return IsRegularFile(path) && ContentOf(path).kind == FileKind::kGguf;
}

template <typename Tensors>
std::vector<StoredType> TypesOf(const Tensors& tensors) {
  std::map<std::string, StoredType> by_name;
  for (const auto& [tensor_name, tensor] : tensors) {
    const std::string name(Info(tensor.dtype()).name);
    StoredType& type = by_name[name];
    type.name = name;
    ++type.tensors;
    type.bytes += tensor.bytes().size();
  }
  std::vector<StoredType> types;
  for (auto& [name, type] : by_name) types.push_back(std::move(type));
  std::ranges::stable_sort(types, std::ranges::greater(), &StoredType::bytes);
  return types;
}

}  // namespace

uint64_t StoredBytes(const std::string& path) {
  if (IsGgufFile(path)) return GgufFile::Open(path).file_bytes();
  if (!IsDirectory(path)) return fs::file_size(path);
  uint64_t bytes = 0;
  for (const auto& entry : fs::directory_iterator(path)) {
    const fs::path& file = entry.path();
    const bool weights = file.extension() == ".safetensors" || file.extension() == ".gguf" ||
                         file.filename() == "model.bin";  // CTranslate2's
    const bool adapter = file.filename().string().starts_with("adapter_");
    if (weights && !adapter && entry.is_regular_file()) bytes += entry.file_size();
  }
  return bytes;
}

std::vector<StoredType> StoredTypes(const std::string& path, const Weights& weights) {
  return IsGgufFile(path) ? TypesOf(GgufFile::Open(path).tensors()) : TypesOf(weights);
}

}  // namespace rondo
