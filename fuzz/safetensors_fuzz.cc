// safetensors files.
#include "formats/safetensors.h"
#include "fuzz/input.h"

using namespace rondo;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string path = fuzz::InputFile(fuzz::Text(data, size));
  fuzz::Refusable([&] {
    for (const auto& [name, tensor] : ReadSafetensors(path)) ToF32(tensor);
  });
  return 0;
}
