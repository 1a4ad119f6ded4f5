// Builds safetensors files byte by byte, well formed or not.
#pragma once

#include <fstream>
#include <string>

namespace rondo {

inline std::string LengthBytes(uint64_t length) {
  std::string bytes;
  for (int i = 0; i < 8; ++i) bytes += static_cast<char>(length >> (8 * i) & 0xff);
  return bytes;
}

inline std::string SafetensorsBytes(const std::string& header, const std::string& data) {
  return LengthBytes(header.size()) + header + data;
}

inline void WriteBytes(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

}  // namespace rondo
