#include "report/event_file.h"

#include <array>
#include <bit>
#include <cstring>

namespace rondo {
namespace {

constexpr std::array<uint32_t, 256> MakeCrcTable() {
  constexpr uint32_t kCastagnoli = 0x82f63b78;  // reflected
  std::array<uint32_t, 256> table = {};
  for (uint32_t i = 0; i < table.size(); ++i) {
    uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ ((crc & 1) != 0 ? kCastagnoli : 0);
    table[i] = crc;
  }
  return table;
}
constexpr std::array<uint32_t, 256> kCrcTable = MakeCrcTable();

// Little-endian, whatever the machine.
template <typename T>
std::string Fixed(T value) {
  std::string bytes;
  for (size_t i = 0; i < sizeof(T); ++i) bytes += static_cast<char>(value >> (8 * i) & 0xff);
  return bytes;
}

std::string Varint(uint64_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7) bytes += static_cast<char>(value | 0x80);
  return bytes + static_cast<char>(value);
}

// Wire types of protobuf.
enum Wire : uint64_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

std::string Key(uint64_t field, Wire wire) { return Varint(field << 3 | wire); }
std::string Integer(uint64_t field, uint64_t value) { return Key(field, kVarint) + Varint(value); }
std::string Double(uint64_t field, double value) {
  return Key(field, kFixed64) + Fixed(std::bit_cast<uint64_t>(value));
}
std::string Float(uint64_t field, float value) {
  return Key(field, kFixed32) + Fixed(std::bit_cast<uint32_t>(value));
}
std::string Bytes(uint64_t field, std::string_view value) {
  return Key(field, kBytes) + Varint(value.size()) + std::string(value);
}

// Fields by their numbers in the .proto files.
enum EventField : uint64_t { kWallTime = 1, kStep = 2, kFileVersion = 3, kSummary = 5 };
enum SummaryField : uint64_t { kSummaryValue = 1 };
enum ValueField : uint64_t { kTag = 1, kSimpleValue = 2, kTensor = 8, kMetadata = 9 };
enum MetadataField : uint64_t { kPluginData = 1 };
enum PluginField : uint64_t { kPluginName = 1 };
enum TensorField : uint64_t { kDType = 1, kShape = 2, kStringValue = 8 };
constexpr uint64_t kStringType = 7;

}  // namespace

uint32_t MaskedCrc32c(std::string_view bytes) {
  constexpr uint32_t kMask = 0xa282ead8;
  uint32_t crc = 0xffffffff;
  for (const char c : bytes) crc = kCrcTable[(crc ^ static_cast<uint8_t>(c)) & 0xff] ^ crc >> 8;
  crc = ~crc;
  return (crc >> 15 | crc << 17) + kMask;
}

EventFile::EventFile() { AddRecord(Double(kWallTime, 0) + Bytes(kFileVersion, "brain.Event:2")); }

void EventFile::AddScalar(double wall, int64_t step, std::string_view tag, double value) {
  AddEvent(wall, step, Bytes(kTag, tag) + Float(kSimpleValue, static_cast<float>(value)));
}

void EventFile::AddText(double wall, int64_t step, std::string_view tag, std::string_view text) {
  const std::string plugin = Bytes(kPluginData, Bytes(kPluginName, "text"));
  const std::string tensor =
      Integer(kDType, kStringType) + Bytes(kShape, "") + Bytes(kStringValue, text);
  AddEvent(wall, step, Bytes(kTag, tag) + Bytes(kTensor, tensor) + Bytes(kMetadata, plugin));
}

void EventFile::AddEvent(double wall, int64_t step, const std::string& summary_value) {
  AddRecord(Double(kWallTime, wall) + Integer(kStep, static_cast<uint64_t>(step)) +
            Bytes(kSummary, Bytes(kSummaryValue, summary_value)));
}

// Length, its sum, data, its sum.
void EventFile::AddRecord(const std::string& data) {
  const std::string length = Fixed(uint64_t{data.size()});
  bytes_ += length + Fixed(MaskedCrc32c(length)) + data + Fixed(MaskedCrc32c(data));
}

}  // namespace rondo
