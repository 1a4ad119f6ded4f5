// The bytes of a file, a piece at a time. Files that are packed as xz, zstd, gzip or bzip2 are
// unpacked; a file is told by its first bytes, and one that says by its name that it is packed must
// be.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

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

// The path without an ending that says it is packed: "a.tsv.gz" is "a.tsv".
std::string_view WithoutPacking(std::string_view path);

}  // namespace rondo
