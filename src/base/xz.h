// Text files that may be packed with xz.
#pragma once

#include <cstdint>
#include <string>

namespace rondo {

// A whole file as a string. One that begins with the magic bytes of the xz format is unpacked,
// whatever its name. Throws rondo::Error naming the file when it cannot be read, is damaged or cut
// short, or holds more than `max_bytes` of text.
std::string ReadMaybeXz(const std::string& path, uint64_t max_bytes = uint64_t{1} << 30);

}  // namespace rondo
