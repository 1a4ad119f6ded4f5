// GGUF files: the container, the model in it, and its vocabulary.
#include "formats/gguf.h"
#include "fuzz/input.h"
#include "fuzz/use_tokenizer.h"
#include "hub/adapter.h"
#include "hub/gguf_model.h"
#include "rondo/model.h"
#include "text/tokenizer/gguf_vocab.h"

using namespace rondo;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string path = fuzz::InputFile(fuzz::Text(data, size));
  const bool opened = fuzz::Refusable([&] {
    const GgufFile file = GgufFile::Open(path);
    for (const auto& named : file.tensors()) {
      fuzz::Refusable([&] { ToF32(named.second); });
    }
  });
  if (!opened) return 0;
  fuzz::Refusable([&] { LoadModel(path); });
  fuzz::Refusable([&] { fuzz::UseTokenizer(ReadGgufVocab(GgufFile::Open(path))); });
  return 0;
}
