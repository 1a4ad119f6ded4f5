#include "report/event_file.h"

#include <gmock/gmock.h>

#include <cstring>

namespace rondo {
namespace {

template <typename T>
T At(const std::string& bytes, size_t at) {
  T value;
  std::memcpy(&value, bytes.data() + at, sizeof(value));
  return value;
}

// Of RFC 3720 (iSCSI), appendix B.4, and of the usual check string; then masked as TFRecord does.
TEST(EventFile, SumsAreThoseOfCastagnoli) {
  const auto masked = [](uint32_t crc) { return (crc >> 15 | crc << 17) + 0xa282ead8u; };
  EXPECT_EQ(MaskedCrc32c("123456789"), masked(0xe3069283));
  EXPECT_EQ(MaskedCrc32c(std::string(32, '\0')), masked(0x8a9136aa));
  EXPECT_EQ(MaskedCrc32c(std::string(32, '\xff')), masked(0x62a8ab43));
}

TEST(EventFile, RecordsHaveLengthAndSums) {
  EventFile file;
  file.AddScalar(2, 300, "loss", 0.5);
  file.AddText(2, 300, "sample", "text");
  const std::string& bytes = file.bytes();
  std::vector<std::string> records;
  for (size_t at = 0; at < bytes.size();) {
    ASSERT_LE(at + 16, bytes.size());
    const auto size = At<uint64_t>(bytes, at);
    ASSERT_LE(size, bytes.size() - at - 16);
    EXPECT_EQ(At<uint32_t>(bytes, at + 8), MaskedCrc32c(bytes.substr(at, 8)));
    records.push_back(bytes.substr(at + 12, size));
    EXPECT_EQ(At<uint32_t>(bytes, at + 12 + size), MaskedCrc32c(records.back()));
    at += 16 + size;
  }
  ASSERT_EQ(records.size(), 3u);
  EXPECT_THAT(records[0], testing::EndsWith("brain.Event:2"));
  // wall_time 2.0, step 300, summary { value { tag "loss" simple_value 0.5 } }
  const std::string scalar(
      "\x09\0\0\0\0\0\0\0\x40\x10\xac\x02\x2a\x0d\x0a\x0b\x0a\x04loss\x15\0\0\0\x3f", 27);
  EXPECT_EQ(records[1], scalar);
}

}  // namespace
}  // namespace rondo
