// Damaged GGUF files: each must end in a rondo::Error that names the file and what is wrong,
// without reading past the end or allocating what a size field asks for (run under sanitizers as
// well).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "base/temp_dir.h"
#include "formats/gguf.h"
#include "rondo/error.h"

namespace rondo {
namespace {

using testing::HasSubstr;

// Builds a GGUF file byte by byte, so that every part of it can be wrong.
class Bytes {
 public:
  template <typename T>
  requires std::is_arithmetic_v<T> Bytes& Put(T value) {
    text_.append(reinterpret_cast<const char*>(&value), sizeof(value));
    return *this;
  }
  Bytes& Put(const std::string& text) { return Put(uint64_t{text.size()}).Raw(text); }
  Bytes& Raw(const std::string& text) {
    text_ += text;
    return *this;
  }
  Bytes& PadTo(size_t alignment) {
    text_.resize((text_.size() + alignment - 1) / alignment * alignment);
    return *this;
  }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

enum Type : uint32_t { kU8, kI8, kU16, kI16, kU32, kI32, kF32, kBool, kString, kArray, kU64, kI64 };
enum TensorType : uint32_t { kTensorF32 = 0, kTensorQ4_0 = 2, kTensorIq2Xs = 17 };

Bytes Header(uint64_t tensors, uint64_t entries) {
  return Bytes().Raw("GGUF").Put(uint32_t{3}).Put(tensors).Put(entries);
}

Bytes OneEntry(const std::function<void(Bytes&)>& value) {
  Bytes out = Header(0, 1).Put(std::string("the.key"));
  value(out);
  return out;
}

struct TensorFields {
  std::string name = "the.tensor";
  std::vector<uint64_t> dims = {8};
  uint32_t type = kTensorF32;
  uint64_t offset = 0;
};

void PutTensor(Bytes& out, const TensorFields& tensor) {
  out.Put(tensor.name).Put(static_cast<uint32_t>(tensor.dims.size()));
  for (const uint64_t dim : tensor.dims) out.Put(dim);
  out.Put(tensor.type).Put(tensor.offset);
}

Bytes Tensors(const std::vector<TensorFields>& tensors, size_t data_bytes = 64) {
  Bytes out = Header(tensors.size(), 0);
  for (const TensorFields& tensor : tensors) PutTensor(out, tensor);
  return out.PadTo(32).Raw(std::string(data_bytes, '\0'));
}

Bytes Aligned(uint32_t alignment) {
  return Header(0, 1).Put(std::string("general.alignment")).Put(uint32_t{kU32}).Put(alignment);
}

std::string Cut(const Bytes& bytes, size_t length) { return bytes.text().substr(0, length); }

struct Malformed {
  const char* name;
  std::string content;
  std::vector<std::string> words;  // all of them are in the message
};

std::vector<Malformed> HeaderCases() {
  return {
      {"Empty", "", {"header", "truncated"}},
      {"OtherMagic", "GGML" + Cut(Header(0, 0), 24).substr(4), {"not a GGUF file"}},
      {"OnlyMagic", "GGUF", {"truncated"}},
      {"Version1", Bytes().Raw("GGUF").Put(uint32_t{1}).Put(uint64_t{0}).text(), {"version 1"}},
      {"Version4", Bytes().Raw("GGUF").Put(uint32_t{4}).Put(uint64_t{0}).text(), {"version 4"}},
      {"BigEndian",
       Bytes().Raw("GGUF").Put(uint32_t{3u << 24}).Put(uint64_t{0}).text(),
       {"big-endian"}},
      {"HeaderEndsInCounts", Cut(Header(0, 0), 20), {"metadata_kv_count", "truncated"}},
      {"HugeTensorCount", Header(UINT64_MAX, 0).text(), {"tensor_count", "18446744073709551615"}},
      {"HugeEntryCount", Header(0, INT64_MAX).text(), {"metadata_kv_count", "9223372036854775807"}},
      {"OneEntryTooMany", Header(0, 1).text(), {"metadata_kv_count"}},
  };
}

std::vector<Malformed> MetadataCases() {
  const auto entry = [](auto... values) {
    return OneEntry([&](Bytes& out) { (out.Put(values), ...); }).text();
  };
  const auto twice = [] {
    Bytes out = Header(0, 2);
    for (int i = 0; i < 2; ++i) out.Put(std::string("the.key")).Put(uint32_t{kU8}).Put(uint8_t{1});
    return out.text();
  };
  const std::string no_key =
      Header(0, 1).Put(std::string()).Put(uint32_t{kU32}).Put(uint32_t{1}).text();
  const std::string split =
      Header(0, 1).Put(std::string("split.count")).Put(uint32_t{kU16}).Put(uint16_t{3}).text();
  return {
      {"HugeKeyLength", Header(0, 1).Put(UINT64_MAX).Raw("abcdefgh").text(), {"key length"}},
      {"EmptyKey", no_key, {"empty key"}},
      {"DuplicateKey", twice(), {"the.key", "duplicate key"}},
      {"UnknownValueType", entry(uint32_t{13}, uint64_t{0}), {"the.key", "value type 13"}},
      {"TruncatedValue", entry(uint32_t{kU64}, uint32_t{1}), {"the.key", "truncated"}},
      {"BooleanOf2", entry(uint32_t{kBool}, uint8_t{2}), {"the.key", "boolean 2", "0 or 1"}},
      {"HugeString",
       entry(uint32_t{kString}, uint64_t{1} << 62, uint64_t{0}),
       {"the.key", "string length 4611686018427387904"}},
      {"HugeArray",
       entry(uint32_t{kArray}, uint32_t{kF32}, uint64_t{1} << 62, uint64_t{0}),
       {"the.key", "array length"}},
      {"ArrayLengthThatOverflows",
       entry(uint32_t{kArray}, uint32_t{kU64}, (uint64_t{1} << 61) + 1, uint64_t{0}),
       {"the.key", "array length"}},
      {"HugeStringArray",
       entry(uint32_t{kArray}, uint32_t{kString}, uint64_t{1} << 40),
       {"the.key", "array length"}},
      {"HugeBoolArray",
       entry(uint32_t{kArray}, uint32_t{kBool}, UINT64_MAX),
       {"the.key", "array length"}},
      {"TruncatedStringInArray",
       entry(uint32_t{kArray}, uint32_t{kString}, uint64_t{2}, uint64_t{0}, uint64_t{9}),
       {"the.key", "string length 9"}},
      {"NestedArray",
       entry(uint32_t{kArray}, uint32_t{kArray}, uint64_t{1}, uint32_t{kU8}, uint64_t{0}),
       {"the.key", "array of arrays"}},
      {"UnknownArrayType",
       entry(uint32_t{kArray}, uint32_t{77}, uint64_t{0}),
       {"the.key", "value type 77"}},
      {"UnsignedArrayBeyondInt64",
       entry(uint32_t{kArray}, uint32_t{kU64}, uint64_t{1}, UINT64_MAX),
       {"the.key", "18446744073709551615"}},
      {"AlignmentZero", Aligned(0).text(), {"general.alignment", "alignment 0"}},
      {"AlignmentNoPowerOfTwo", Aligned(48).text(), {"general.alignment", "power of two"}},
      {"AlignmentHuge", Aligned(1u << 31).text(), {"general.alignment", "2147483648"}},
      {"SplitModel", split, {"split.count", "part 1 of 3"}},
  };
}

std::vector<Malformed> TensorCases() {
  const auto one = [](const TensorFields& tensor) { return Tensors({tensor}).text(); };
  const uint64_t big = uint64_t{1} << 33;
  return {
      {"TensorListEndsEarly", Cut(Tensors({{}}, 0), 60), {"truncated", "the.tensor"}},
      {"TwoTensorsAnnounced", Header(2, 0).Raw(Tensors({{}}).text().substr(24)).text(), {}},
      {"EmptyTensorName", one({.name = ""}), {"empty tensor name"}},
      {"LongTensorName", one({.name = std::string(64, 'n')}), {"tensor name length 64"}},
      {"NoDimensions", one({.dims = {}}), {"the.tensor", "0 dimensions"}},
      {"FiveDimensions", one({.dims = {1, 1, 1, 1, 1}}), {"the.tensor", "5 dimensions"}},
      {"ZeroDimension", one({.dims = {8, 0}}), {"the.tensor", "dimension 0"}},
      {"HugeDimension", one({.dims = {UINT64_MAX}}), {"the.tensor", "18446744073709551615"}},
      {"OverflowingShape", one({.dims = {big, big, big}}), {"the.tensor", "overflows"}},
      {"OverflowingBytes", one({.dims = {uint64_t{1} << 62}}), {"the.tensor", "overflows"}},
      {"UnsupportedType",
       one({.dims = {256}, .type = kTensorIq2Xs}),
       {"the.tensor", "IQ2_XS", "Q4_K", "BF16"}},
      {"UnknownType", one({.type = 4242}), {"the.tensor", "type number 4242"}},
      {"PartOfABlock",
       one({.dims = {33}, .type = kTensorQ4_0}),
       {"the.tensor", "[33]", "multiple of 32"}},
      {"UnalignedOffset", one({.offset = 4}), {"the.tensor", "offset 4", "alignment 32"}},
      {"OffsetBeyondTheFile",
       one({.offset = uint64_t{1} << 40}),
       {"the.tensor", "outside the file"}},
      {"OffsetThatOverflows", one({.offset = UINT64_MAX - 31}), {"the.tensor", "outside the file"}},
      {"LongerThanTheFile", one({.dims = {1000}}), {"the.tensor", "outside the file"}},
      {"DataSectionMissing", Cut(Tensors({{}}), 66), {"the.tensor", "outside the file"}},
      {"DuplicateTensor",
       Tensors({{.dims = {8}}, {.dims = {8}, .offset = 32}}).text(),
       {"the.tensor", "duplicate tensor"}},
      {"OverlappingTensors",
       Tensors({{.name = "first", .dims = {12}}, {.name = "second", .offset = 32}}).text(),
       {"second", "overlaps tensor first"}},
      {"SamePlaceTwice", Tensors({{.name = "first"}, {.name = "second"}}).text(), {"overlaps"}},
  };
}

void ExpectErrors(const std::vector<Malformed>& cases) {
  TempDir dir;
  for (const Malformed& malformed : cases) {
    SCOPED_TRACE(malformed.name);
    const std::string path = dir.File(std::string(malformed.name) + ".gguf");
    std::ofstream(path, std::ios::binary) << malformed.content;
    try {
      GgufFile::Open(path);
      ADD_FAILURE() << "was accepted";
    } catch (const Error& error) {
      EXPECT_EQ(error.info().file, path);
      for (const std::string& word : malformed.words) EXPECT_THAT(error.what(), HasSubstr(word));
    }
  }
}

TEST(GgufMalformedTest, TheValidFormsOfTheseFilesAreAccepted) {
  TempDir dir;
  const std::string valid[] = {
      Header(0, 0).text(), Tensors({{}}).text(), Aligned(64).text(),
      OneEntry([](Bytes& out) { out.Put(uint32_t{kU8}).Put(uint8_t{1}); }).text()};
  for (const std::string& content : valid) {
    std::ofstream(dir.File("valid.gguf"), std::ios::binary) << content;
    EXPECT_NO_THROW(GgufFile::Open(dir.File("valid.gguf")));
  }
}

TEST(GgufMalformedTest, DoublesBecomeFloats) {
  TempDir dir;
  constexpr uint32_t kTensorF64 = 28;
  Bytes out = Header(1, 0);
  PutTensor(out, {.dims = {2}, .type = kTensorF64});
  out.PadTo(32).Put(2.5).Put(-0.1);
  std::ofstream(dir.File("m"), std::ios::binary) << out.text();
  const GgufFile file = GgufFile::Open(dir.File("m"));
  const Tensor& tensor = file.tensors().find("the.tensor")->second;
  EXPECT_EQ(tensor.dtype(), DType::kF32);
  EXPECT_EQ(tensor.f32()[0], 2.5f);
  EXPECT_EQ(tensor.f32()[1], -0.1f);
}

TEST(GgufMalformedTest, Header) { ExpectErrors(HeaderCases()); }
TEST(GgufMalformedTest, Metadata) { ExpectErrors(MetadataCases()); }
TEST(GgufMalformedTest, Tensors) { ExpectErrors(TensorCases()); }

TEST(GgufMalformedTest, FileThatIsNone) {
  TempDir dir;
  EXPECT_THROW(GgufFile::Open(dir.File("absent.gguf")), Error);
  EXPECT_THROW(GgufFile::Open(dir.File("")), Error);
}

// Every prefix and every single damaged byte either loads or is refused; nothing else may happen.
TEST(GgufMalformedTest, DamageAnywhereNeverCrashes) {
  TempDir dir;
  Bytes bytes = Header(2, 2);
  bytes.Put(std::string("names")).Put(uint32_t{kArray}).Put(uint32_t{kString}).Put(uint64_t{2});
  bytes.Put(std::string("a")).Put(std::string("bc"));
  bytes.Put(std::string("size")).Put(uint32_t{kU32}).Put(uint32_t{7});
  PutTensor(bytes, {.name = "w", .dims = {32, 2}, .type = kTensorQ4_0});
  PutTensor(bytes, {.name = "b", .dims = {4}, .offset = 64});
  const std::string valid = bytes.PadTo(32).Raw(std::string(80, '\1')).text();
  const std::string path = dir.File("damaged.gguf");
  const auto try_open = [&](const std::string& content) {
    std::ofstream(path, std::ios::binary | std::ios::trunc) << content;
    try {
      const GgufFile file = GgufFile::Open(path);
      for (const auto& [name, tensor] : file.tensors()) ToF32(tensor);
    } catch (const Error& error) {
      EXPECT_EQ(error.info().file, path) << error.what();
    }
  };
  try_open(valid);
  for (size_t length = 0; length < valid.size(); ++length) try_open(valid.substr(0, length));
  for (size_t at = 0; at < valid.size(); ++at) {
    for (const char value : {'\0', '\x7f', '\xff'}) {
      std::string damaged = valid;
      damaged[at] = value;
      try_open(damaged);
    }
  }
}

}  // namespace
}  // namespace rondo
