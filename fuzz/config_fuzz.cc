// config.json, Hugging Face's and rondo's. What was accepted can be written and read again.
#include "fuzz/input.h"
#include "hub/native_config.h"

using namespace rondo;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  ConfigFile file;
  const bool read =
      fuzz::Refusable([&] { file = ParseConfigFile(fuzz::Text(data, size), "config.json"); });
  if (!read) return 0;
  const std::string text = NativeConfigText(file.config, file.plan, DType::kF32);
  bool same = false;
  fuzz::Refusable([&] { same = ParseConfigFile(text, "config.json").plan == file.plan; });
  fuzz::Require(same, "a configuration that is written reads as the same");
  return 0;
}
