#include "audio/sound_bytes.h"

#include <algorithm>
#include <cstring>

namespace rondo {

int64_t MemoryBytes::SeekTo(int64_t position) {
  position_ = std::clamp<int64_t>(position, 0, Length());
  return position_;
}

size_t MemoryBytes::Read(std::span<std::byte> out) {
  const auto begin = static_cast<size_t>(position_);
  const size_t count = std::min(out.size(), bytes_.size() - begin);
  std::copy_n(bytes_.begin() + position_, count, out.begin());
  for (const BytePatch& patch : patches_) {
    const size_t first = std::max(patch.at, begin);
    const size_t end = std::min(patch.at + patch.bytes.size(), begin + count);
    if (first >= end) continue;
    std::memcpy(out.data() + (first - begin), patch.bytes.data() + (first - patch.at), end - first);
  }
  position_ += static_cast<int64_t>(count);
  return count;
}

}  // namespace rondo
