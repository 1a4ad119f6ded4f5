// tokenizer.json of the Hugging Face tokenizers library, and what the tokenizer does with text.
#include "fuzz/use_tokenizer.h"
#include "text/tokenizer/tokenizer_json.h"

using namespace rondo;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string path = fuzz::InputFile(fuzz::Text(data, size));
  fuzz::Refusable([&] { fuzz::UseTokenizer(ReadTokenizerJson(path)); });
  return 0;
}
