#include "corpus/shard.h"

#include <array>
#include <bit>
#include <cstring>
#include <filesystem>
#include <type_traits>
#include <utility>
#include <vector>

#include "rondo/error.h"

namespace rondo {
namespace {

static_assert(std::endian::native == std::endian::little, "shards are little-endian");

using Magic = std::array<char, 8>;
constexpr Magic kTokenMagic = {'R', 'O', 'N', 'D', 'O', 'T', 'O', 'K'};
constexpr Magic kDocumentMagic = {'R', 'O', 'N', 'D', 'O', 'D', 'O', 'C'};
constexpr uint32_t kVersion = 2;  // 1: documents hashed by another function
constexpr const char* kRemedy = "; delete the shard and it is packed anew";

// The first bytes of both files.
struct FileHeader {
  Magic magic;
  uint32_t version;
  uint32_t element_bytes;
  uint64_t tokenizer;
  uint64_t vocab_size;
  uint64_t key;
  std::array<uint64_t, 3> reserved;
};
static_assert(sizeof(FileHeader) == 64 && std::is_trivially_copyable_v<FileHeader>);
static_assert(sizeof(ShardDocument) == 16 && std::is_trivially_copyable_v<ShardDocument>);

std::string TokenPath(const std::string& path) { return path + ".tokens"; }
std::string DocumentPath(const std::string& path) { return path + ".documents"; }

FileHeader MakeHeader(const Magic& magic, size_t element_bytes, const ShardHeader& header) {
  return {.magic = magic,
          .version = kVersion,
          .element_bytes = static_cast<uint32_t>(element_bytes),
          .tokenizer = header.tokenizer,
          .vocab_size = header.vocab_size,
          .key = header.key,
          .reserved = {}};
}

[[noreturn]] void Fail(const std::string& file, const char* field, std::string problem,
                       const std::string& expected) {
  throw Error({.function = "OpenShard",
               .problem = std::move(problem),
               .expected = expected + kRemedy,
               .file = file,
               .field = field});
}

void CheckField(const std::string& file, const char* field, uint64_t value, uint64_t expected) {
  if (value != expected) Fail(file, field, std::to_string(value), std::to_string(expected));
}

// The elements behind the header, as bytes.
std::span<const std::byte> CheckFile(const MappedFile& file, const FileHeader& expected) {
  const std::span<const std::byte> bytes = file.bytes();
  FileHeader header;
  if (bytes.size() < sizeof(header)) {
    Fail(file.path(), "header", std::to_string(bytes.size()) + " bytes", "at least 64");
  }
  std::memcpy(&header, bytes.data(), sizeof(header));
  if (header.magic != expected.magic) {
    Fail(file.path(), "magic", "not a token shard",
         std::string(expected.magic.begin(), expected.magic.end()));
  }
  CheckField(file.path(), "version", header.version, expected.version);
  CheckField(file.path(), "element_bytes", header.element_bytes, expected.element_bytes);
  if (header.tokenizer != expected.tokenizer) {
    Fail(file.path(), "tokenizer", "packed with another tokenizer", "the one in use");
  }
  CheckField(file.path(), "vocab_size", header.vocab_size, expected.vocab_size);
  CheckField(file.path(), "key", header.key, expected.key);
  const auto elements = bytes.subspan(sizeof(header));
  if (elements.size() % expected.element_bytes != 0) {
    Fail(file.path(), "size", std::to_string(bytes.size()) + " bytes end within an element",
         "a complete file");
  }
  return elements;
}

template <typename T>
void Widen(std::span<const std::byte> bytes, size_t position, std::span<int32_t> out) {
  const T* from = reinterpret_cast<const T*>(bytes.data()) + position;
  for (size_t i = 0; i < out.size(); ++i) out[i] = static_cast<int32_t>(from[i]);
}

}  // namespace

ShardWriter::ShardWriter(const std::string& path, const ShardHeader& header)
    : header_(header), token_file_(TokenPath(path)), document_file_(DocumentPath(path)) {
  const FileHeader tokens =
      MakeHeader(kTokenMagic, static_cast<size_t>(header.token_bytes()), header);
  const FileHeader documents = MakeHeader(kDocumentMagic, sizeof(ShardDocument), header);
  token_file_.Write(&tokens, sizeof(tokens));
  document_file_.Write(&documents, sizeof(documents));
}

void ShardWriter::Add(std::span<const int32_t> tokens, uint64_t hash) {
  if (header_.token_bytes() == 4) {
    token_file_.Write(tokens.data(), tokens.size_bytes());
  } else {
    const std::vector<uint16_t> narrow(tokens.begin(), tokens.end());
    token_file_.Write(narrow.data(), narrow.size() * sizeof(uint16_t));
  }
  tokens_ += tokens.size();
  ++documents_;
  const ShardDocument document = {.end = tokens_, .hash = hash};
  document_file_.Write(&document, sizeof(document));
}

void ShardWriter::Commit() {
  document_file_.Commit();
  token_file_.Commit();
}

bool Shard::Exists(const std::string& path) {
  std::error_code ignored;
  return std::filesystem::exists(TokenPath(path), ignored) &&
         std::filesystem::exists(DocumentPath(path), ignored);
}

Shard::Shard(const std::string& path, const ShardHeader& expected)
    : header_(expected),
      token_file_(MappedFile::Open(TokenPath(path))),
      document_file_(MappedFile::Open(DocumentPath(path))) {
  const auto token_bytes = static_cast<size_t>(expected.token_bytes());
  const auto tokens = CheckFile(*token_file_, MakeHeader(kTokenMagic, token_bytes, expected));
  const auto documents =
      CheckFile(*document_file_, MakeHeader(kDocumentMagic, sizeof(ShardDocument), expected));
  tokens_ = static_cast<int64_t>(tokens.size() / token_bytes);
  documents_ = {reinterpret_cast<const ShardDocument*>(documents.data()),
                documents.size() / sizeof(ShardDocument)};
  uint64_t end = 0;
  for (const ShardDocument& document : documents_) {
    if (document.end <= end) {
      Fail(document_file_->path(), "documents", "an end of " + std::to_string(document.end),
           "more than " + std::to_string(end));
    }
    end = document.end;
  }
  if (end != static_cast<uint64_t>(tokens_)) {
    Fail(token_file_->path(), "tokens", std::to_string(tokens_), std::to_string(end));
  }
}

void Shard::Read(int64_t position, std::span<int32_t> out) const {
  const auto bytes = token_file_->bytes().subspan(sizeof(FileHeader));
  const auto at = static_cast<size_t>(position);
  if (header_.token_bytes() == 2) {
    Widen<uint16_t>(bytes, at, out);
  } else {
    Widen<uint32_t>(bytes, at, out);
  }
  for (size_t i = 0; i < out.size(); ++i) {
    if (static_cast<uint32_t>(out[i]) >= header_.vocab_size) {
      Fail(token_file_->path(), "tokens",
           "id " + std::to_string(static_cast<uint32_t>(out[i])) + " at position " +
               std::to_string(at + i),
           "ids below " + std::to_string(header_.vocab_size));
    }
  }
}

}  // namespace rondo
