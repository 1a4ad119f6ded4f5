// The bytes of a file, a pipe or standard input, a piece at a time. What is packed as xz, zstd,
// gzip or bzip2 is unpacked; it is told by its first bytes, and a file that says by its name that
// it is packed must be.
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

// "-" and "/dev/stdin" are standard input. A pipe must have a writer, or hold something already:
// one that nobody writes to is an error, not something to wait for.
std::unique_ptr<ByteSource> OpenBytes(const std::string& path);
bool IsStandardInput(std::string_view path);

// The path without an ending that says it is packed: "a.tsv.gz" is "a.tsv".
std::string_view WithoutPacking(std::string_view path);

}  // namespace rondo
