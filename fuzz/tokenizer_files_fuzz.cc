// vocab.json, merges.txt and tokenizer_config.json of a directory.
#include "fuzz/use_tokenizer.h"
#include "text/tokenizer/load_spec.h"

using namespace rondo;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto parts = fuzz::Parts(fuzz::Text(data, size), 3);
  const std::string path = fuzz::WriteInput("vocab.json", parts[0]);
  fuzz::WriteInput("merges.txt", parts[1]);
  fuzz::WriteInput("tokenizer_config.json", parts[2]);
  fuzz::Refusable([&] { fuzz::UseTokenizer(LoadTokenizerSpec(path)); });
  return 0;
}
