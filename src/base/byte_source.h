// The bytes of a file, decompressed where its name ends in .xz or .zst, a piece at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace rondo {

class ByteSource {
 public:
  virtual ~ByteSource() = default;
  // Fills a part of `out`, at least one byte; 0 at the end. Throws rondo::Error naming the file
  // when it is damaged or ends too early.
  virtual size_t Read(std::span<char> out) = 0;
  // Bytes of the file itself read so far, for progress.
  virtual int64_t position() const = 0;
};

std::unique_ptr<ByteSource> OpenBytes(const std::string& path);

// The whole of it as a string; refuses more than `max_bytes`.
std::string ReadPackedText(const std::string& path, uint64_t max_bytes = uint64_t{1} << 30);

}  // namespace rondo
