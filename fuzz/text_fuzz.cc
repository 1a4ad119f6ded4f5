// Texts as they are read for evaluation and training: gz, bz2, xz, zstd, UTF-16, UTF-32, plain, and
// lines of JSON.
#include "corpus/document_reader.h"
#include "fuzz/input.h"
#include "text/unicode/text_source.h"

using namespace rondo;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string path = fuzz::InputFile(fuzz::Text(data, size));
  constexpr uint64_t kMost = 1 << 20;
  std::string text;
  // What unpacks to more is cut off here, and not read twice.
  if (!fuzz::Refusable([&] { text = ReadText(path, kMost); })) return 0;
  CheckUtf8(text, "text");
  const auto read = [&](const std::string& name, DocumentUnit unit) {
    fuzz::Refusable([&] {
      DocumentReader reader(name, unit, "text");
      for (std::string document; reader.Next(&document);) CheckUtf8(document, "document");
    });
  };
  read(path, DocumentUnit::kParagraph);
  read(path, DocumentUnit::kHeading);
  read(fuzz::WriteInput("input.jsonl", text), DocumentUnit::kLine);
  return 0;
}
