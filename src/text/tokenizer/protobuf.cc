#include "text/tokenizer/protobuf.h"

#include <cstring>

#include "rondo/error.h"

namespace rondo {
namespace {

enum WireType { kVarint = 0, kFixed64 = 1, kLength = 2, kFixed32 = 5 };

}  // namespace

void ProtobufReader::Fail(const std::string& problem) const {
  throw Error({.function = "ProtobufReader",
               .problem = problem,
               .expected = "a SentencePiece model",
               .file = file_,
               .field = "field " + std::to_string(field_)});
}

bool ProtobufReader::Next() {
  if (bytes_.empty()) return false;
  const uint64_t tag = ReadVarint();
  if (tag >> 3 == 0 || tag >> 3 > 0x1FFFFFFF) Fail("bad field tag");
  field_ = static_cast<int>(tag >> 3);
  wire_type_ = static_cast<int>(tag & 7);
  return true;
}

uint64_t ProtobufReader::Varint() {
  ExpectWireType(kVarint);
  return ReadVarint();
}

float ProtobufReader::Float() {
  ExpectWireType(kFixed32);
  float value;
  std::memcpy(&value, Take(sizeof(value)).data(), sizeof(value));
  return value;
}

std::string_view ProtobufReader::Bytes() {
  ExpectWireType(kLength);
  return Take(ReadVarint());
}

void ProtobufReader::Skip() {
  switch (wire_type_) {
    case kVarint:
      ReadVarint();
      return;
    case kFixed64:
      Take(8);
      return;
    case kLength:
      Take(ReadVarint());
      return;
    case kFixed32:
      Take(4);
      return;
    default:
      Fail("bad wire type " + std::to_string(wire_type_));
  }
}

void ProtobufReader::ExpectWireType(int type) const {
  if (wire_type_ != type) Fail("wire type " + std::to_string(wire_type_));
}

uint64_t ProtobufReader::ReadVarint() {
  uint64_t value = 0;
  for (int shift = 0; shift < 64; shift += 7) {
    const auto byte = static_cast<unsigned char>(Take(1)[0]);
    value |= uint64_t{byte & 0x7Fu} << shift;
    if (byte < 0x80) return value;
  }
  Fail("number of more than 64 bits");
}

std::string_view ProtobufReader::Take(uint64_t count) {
  if (count > bytes_.size()) Fail("truncated");
  const std::string_view taken = bytes_.substr(0, count);
  bytes_.remove_prefix(count);
  return taken;
}

}  // namespace rondo
