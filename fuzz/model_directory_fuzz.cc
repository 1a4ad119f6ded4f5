// Model directories: config.json, model.safetensors.index.json (where not empty) and the tensors.
#include "fuzz/input.h"
#include "rondo/model.h"

using namespace rondo;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto parts = fuzz::Parts(fuzz::Text(data, size), 3);
  fuzz::WriteInput("config.json", parts[0]);
  constexpr const char* kIndex = "model.safetensors.index.json";
  const std::string index = fuzz::WriteInput(kIndex, parts[1]);
  const std::string tensors = fuzz::WriteInput("model.safetensors", parts[2]);
  if (parts[1].empty()) {
    std::remove(index.c_str());
  } else {
    fuzz::WriteInput("shard.safetensors", parts[2]);
    std::remove(tensors.c_str());
  }
  fuzz::Refusable([] { LoadModel(fuzz::InputDirectory()); });
  return 0;
}
