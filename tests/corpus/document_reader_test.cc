#include "corpus/document_reader.h"

#include <gmock/gmock.h>

#include <vector>

#include "base/compressed.h"
#include "base/temp_dir.h"
#include "rondo/error.h"

namespace rondo {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;

std::vector<std::string> Documents(const std::string& path,
                                   DocumentUnit unit = DocumentUnit::kParagraph) {
  DocumentReader reader(path, unit, "text");
  std::vector<std::string> documents;
  for (std::string text; reader.Next(&text);) documents.push_back(text);
  return documents;
}

TEST(DocumentReader, CutsTextByTheUnitAskedFor) {
  TempDir dir;
  const std::string path = dir.File("a.txt");
  Put(path, "\n= A =\n\none\ntwo \n \n\n = = Part = = \nthree\n = B = \nfour");
  EXPECT_THAT(Documents(path, DocumentUnit::kParagraph),
              ElementsAre("= A =", "one\ntwo ", " = = Part = = \nthree\n = B = \nfour"));
  EXPECT_THAT(Documents(path, DocumentUnit::kHeading),
              ElementsAre("= A =\n\none\ntwo \n \n\n = = Part = = \nthree", " = B = \nfour"));
  EXPECT_THAT(Documents(path, DocumentUnit::kLine),
              ElementsAre("= A =", "one", "two ", " = = Part = = ", "three", " = B = ", "four"));
  EXPECT_THAT(Documents(path, DocumentUnit::kFile),
              ElementsAre("\n= A =\n\none\ntwo \n \n\n = = Part = = \nthree\n = B = \nfour"));
}

TEST(DocumentReader, KeepsAFileAsItIs) {
  TempDir dir;
  for (const std::string text : {"a", "a\n", "\r\n\n a\r\n\n", "\n"}) {
    Put(dir.File("a.txt"), text);
    EXPECT_THAT(Documents(dir.File("a.txt"), DocumentUnit::kFile), ElementsAre(text));
  }
}

TEST(DocumentReader, ByteOrderMarkAndCarriageReturnsAreNoText) {
  TempDir dir;
  Put(dir.File("a.txt"), "\xEF\xBB\xBFone\r\ntwo\r\n\r\nthree\r\n");
  EXPECT_THAT(Documents(dir.File("a.txt")), ElementsAre("one\ntwo", "three"));
}

TEST(DocumentReader, TextBeforeTheFirstHeadingIsADocument) {
  TempDir dir;
  Put(dir.File("a.txt"), "preface\n\n= A =\n= B =\n\n");
  EXPECT_THAT(Documents(dir.File("a.txt"), DocumentUnit::kHeading),
              ElementsAre("preface", "= A =", "= B ="));
}

TEST(DocumentReader, HasNoDocumentsInBlankFiles) {
  TempDir dir;
  for (const auto& [name, text] : {std::pair{"a.txt", ""},
                                   {"a.txt", " \n\n\t\n"},
                                   {"a.jsonl", "\n\n"},
                                   {"a.jsonl", "{\"text\": \"\"}\n"}}) {
    Put(dir.File(name), text);
    EXPECT_TRUE(Documents(dir.File(name)).empty()) << text;
    EXPECT_TRUE(Documents(dir.File(name), DocumentUnit::kHeading).empty()) << text;
  }
}

TEST(DocumentReader, ReadsRecords) {
  TempDir dir;
  const std::string records =
      "{\"id\": 1, \"text\": \"caf\\u00e9\\nA\\tB \"}\n\n{\"text\": \"\xF0\x9F\x8E\xBC\", "
      "\"meta\": {}}\r\n";
  for (const auto& [name, bytes] : {std::pair{"a.jsonl", records},
                                    {"a.ndjson", records},
                                    {"a.jsonl.xz", Xz(records)},
                                    {"a.jsonl.zst", Zstd(records)},
                                    {"a.jsonl.gz", Gzip(records)},
                                    {"a.jsonl.bz2", Bzip2(records)},
                                    {"a.jsonl", Xz(records)}}) {
    Put(dir.File(name), bytes);
    EXPECT_THAT(Documents(dir.File(name)), ElementsAre("café\nA\tB ", "\xF0\x9F\x8E\xBC"));
  }
}

TEST(DocumentReader, LinesLongerThanTheBufferAreWhole) {
  TempDir dir;
  const std::string longest(5'000'000, 'x');
  Put(dir.File("a.txt"), "a\n" + longest + "\nb\n");
  EXPECT_THAT(Documents(dir.File("a.txt"), DocumentUnit::kLine), ElementsAre("a", longest, "b"));
}

TEST(DocumentReader, ErrorsNameFileAndLine) {
  TempDir dir;
  struct Case {
    const char* name;
    std::string bytes;
    const char* where;
    const char* message;
  };
  for (const Case& c : std::vector<Case>{
           {"a.txt", "fine\nna\xEFve\n", "line 2", "UTF-8"},
           {"a.txt", "fine\n\n\n\xF0\x9F\x8E", "line 4", "UTF-8"},
           {"a.txt.xz", Xz("one\ntwo\nthr\xC3\n"), "line 3", "UTF-8"},
           {"a.jsonl", "{\"text\": \"a\"}\n{\"body\": \"b\"}\n", "line 2: text", "missing"},
           {"a.jsonl", "\n\n{\"text\": 7}\n", "line 3: text", "a string"},
           {"a.jsonl", "{\"text\": null}", "line 1: text", "missing"},
           {"a.jsonl", "{\"text\": \"a\"}\n{\"text\": \"b\"", "line 2", "valid JSON"},
           {"a.jsonl", "[1]\n", "line 1", "an object"},
           {"a.jsonl", "{\"text\": \"a\", \"text\": \"b\"}", "line 1: text", "twice"},
           {"a.jsonl", "{\"text\": \"a\xFF\"}", "line 1", "UTF-8"},
           {"a.jsonl", std::string(100, '[') + "\n", "line 1", "nested"},
       }) {
    Put(dir.File(c.name), c.bytes);
    EXPECT_THAT(
        [&] { Documents(dir.File(c.name), DocumentUnit::kHeading); },
        ThrowsMessage<Error>(AllOf(HasSubstr(c.name), HasSubstr(c.where), HasSubstr(c.message))));
  }
}

}  // namespace
}  // namespace rondo
