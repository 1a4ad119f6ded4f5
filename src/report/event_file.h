// Event files of TensorBoard: records of TFRecord, each a message "Event" of protobuf
// (tensorflow/core/util/event.proto and framework/summary.proto). Five kinds of fields are written,
// which takes less code than the library would take to build.
//
//   EventFile file;
//   file.AddScalar(1700000000.5, 10, "loss", 3.2);
//   WriteTextFile(path, file.bytes());
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace rondo {

class EventFile {
 public:
  EventFile();
  // `wall` is in seconds since 1970.
  void AddScalar(double wall, int64_t step, std::string_view tag, double value);
  void AddText(double wall, int64_t step, std::string_view tag, std::string_view text);
  const std::string& bytes() const { return bytes_; }

 private:
  void AddEvent(double wall, int64_t step, const std::string& summary_value);
  void AddRecord(const std::string& data);
  std::string bytes_;
};

// CRC-32C (Castagnoli) of the bytes, as TFRecord masks it.
uint32_t MaskedCrc32c(std::string_view bytes);

}  // namespace rondo
