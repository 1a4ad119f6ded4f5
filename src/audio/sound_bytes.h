// The bytes of a recording as its decoder reads them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace rondo {

class SoundBytes {
 public:
  virtual ~SoundBytes() = default;
  virtual int64_t Length() const = 0;
  virtual int64_t position() const = 0;
  // To 0 ≤ position ≤ Length(); returns the new position.
  virtual int64_t SeekTo(int64_t position) = 0;
  // Fills a part of `out`; 0 at the end.
  virtual size_t Read(std::span<std::byte> out) = 0;
};

// Bytes that are read in place of those of the file.
struct BytePatch {
  size_t at = 0;
  std::string bytes;
};

// A range of memory, a mapped file for instance, which `owner` keeps alive.
class MemoryBytes : public SoundBytes {
 public:
  MemoryBytes(std::span<const std::byte> bytes, std::shared_ptr<const void> owner,
              std::vector<BytePatch> patches = {})
      : bytes_(bytes), owner_(std::move(owner)), patches_(std::move(patches)) {}
  int64_t Length() const override { return std::ssize(bytes_); }
  int64_t position() const override { return position_; }
  int64_t SeekTo(int64_t position) override;
  size_t Read(std::span<std::byte> out) override;

 private:
  std::span<const std::byte> bytes_;
  std::shared_ptr<const void> owner_;
  std::vector<BytePatch> patches_;
  int64_t position_ = 0;
};

}  // namespace rondo
