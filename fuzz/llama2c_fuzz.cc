// llama2.c's models and vocabularies, which have no mark that tells them apart.
#include "fuzz/use_tokenizer.h"
#include "hub/llama2c_model.h"
#include "text/tokenizer/llama2c_vocab.h"

using namespace rondo;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string path = fuzz::InputFile(fuzz::Text(data, size));
  IsLlama2c(path);
  fuzz::Refusable([&] { LoadLlama2c(path, LoadParts::kAll); });
  fuzz::Refusable([&] { fuzz::UseTokenizer(ReadLlama2cVocab(path)); });
  return 0;
}
