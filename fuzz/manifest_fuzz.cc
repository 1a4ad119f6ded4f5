// Lists of utterances: the first part as .tsv and as .jsonl, beside one recording.
#include "fuzz/input.h"
#include "speech/manifest.h"

using namespace rondo;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::WriteInput("a.wav", "");
  for (const char* name : {"set.tsv", "set.jsonl"}) {
    const std::string path = fuzz::WriteInput(name, fuzz::Text(data, size));
    fuzz::Refusable([&] { ReadManifest(path); });
  }
  return 0;
}
