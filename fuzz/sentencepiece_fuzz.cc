// tokenizer.model, SentencePiece's protocol buffer.
#include "fuzz/use_tokenizer.h"
#include "text/tokenizer/sentencepiece.h"

using namespace rondo;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string path = fuzz::InputFile(fuzz::Text(data, size));
  fuzz::Refusable([&] { fuzz::UseTokenizer(ReadSentencePieceModel(path)); });
  return 0;
}
