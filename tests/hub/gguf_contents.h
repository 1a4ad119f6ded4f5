// Valid GGUF files whose keys and tensors tests change.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/temp_dir.h"
#include "formats/gguf.h"
#include "hub/gguf_test_models.h"

namespace rondo {

// The contents of a file, to be changed and written again.
struct GgufContents {
  std::map<std::string, GgufValue, std::less<>> metadata;
  std::map<std::string, Tensor, std::less<>> tensors;
};

inline GgufContents ContentsOf(const ModelConfig& config, const TempDir& dir) {
  WriteUniformGguf(RandomGgufModel(config), dir.File("valid.gguf"), DType::kF32);
  const GgufFile file = GgufFile::Open(dir.File("valid.gguf"));
  return {file.metadata(), file.tensors()};
}

inline void Write(const GgufContents& contents, const std::string& path) {
  GgufWriter writer;
  for (const auto& [key, value] : contents.metadata) {
    if (const auto* text = std::get_if<std::string>(&value)) writer.SetString(key, *text);
    if (const auto* flag = std::get_if<bool>(&value)) writer.SetBool(key, *flag);
    if (const auto* number = std::get_if<int64_t>(&value)) {
      writer.SetI32(key, static_cast<int32_t>(*number));
    }
    if (const auto* number = std::get_if<uint64_t>(&value)) {
      writer.SetU32(key, static_cast<uint32_t>(*number));
    }
    if (const auto* number = std::get_if<double>(&value)) {
      writer.SetF32(key, static_cast<float>(*number));
    }
    if (const auto* numbers = std::get_if<std::vector<int64_t>>(&value)) {
      writer.SetI32s(key, std::vector<int32_t>(numbers->begin(), numbers->end()));
    }
  }
  for (const auto& [name, tensor] : contents.tensors) writer.AddTensor(name, tensor);
  writer.Write(path);
}

}  // namespace rondo
