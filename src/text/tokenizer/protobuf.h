// Reads the protocol buffer wire format, as much as SentencePiece files need.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace rondo {

class ProtobufReader {
 public:
  // Errors name `file`.
  ProtobufReader(std::string_view bytes, const std::string& file) : bytes_(bytes), file_(file) {}

  // Moves to the next field; false at the end. The value is then read by exactly one of the calls
  // below, which throw if the field has another wire type.
  bool Next();
  int field() const { return field_; }
  uint64_t Varint();
  float Float();
  std::string_view Bytes();
  void Skip();

 private:
  [[noreturn]] void Fail(const std::string& problem) const;
  void ExpectWireType(int type) const;
  uint64_t ReadVarint();
  std::string_view Take(uint64_t count);

  std::string_view bytes_;
  const std::string& file_;
  int field_ = 0;
  int wire_type_ = 0;
};

}  // namespace rondo
