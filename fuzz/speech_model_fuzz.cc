// Directories of speech models, rondo's and Whisper's: config.json, model.safetensors and, where
// not empty, CTranslate2's model.bin.
#include "fuzz/input.h"
#include "rondo/speech_model.h"

using namespace rondo;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto parts = fuzz::Parts(fuzz::Text(data, size), 3);
  fuzz::WriteInput("config.json", parts[0]);
  fuzz::WriteInput("model.safetensors", parts[1]);
  const std::string binary = fuzz::WriteInput("model.bin", parts[2]);
  if (parts[2].empty()) std::remove(binary.c_str());
  fuzz::Refusable([] { LoadSpeechModel(fuzz::InputDirectory()); });
  return 0;
}
