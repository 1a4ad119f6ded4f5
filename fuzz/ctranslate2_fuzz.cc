// CTranslate2's model.bin.
#include "formats/ctranslate2.h"
#include "fuzz/input.h"

using namespace rondo;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string path = fuzz::InputFile(fuzz::Text(data, size));
  fuzz::Refusable([&] {
    for (const auto& [name, tensor] : ReadCTranslate2(path).tensors) ToF32(tensor);
  });
  return 0;
}
