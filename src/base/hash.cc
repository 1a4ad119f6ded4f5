#include "base/hash.h"

#include <xxhash.h>

namespace rondo {

uint64_t HashBytes(std::span<const std::byte> bytes, uint64_t seed) {
  // An empty view may have no address.
  return XXH3_64bits_withSeed(bytes.empty() ? "" : static_cast<const void*>(bytes.data()),
                              bytes.size(), seed);
}

uint64_t HashText(std::string_view text) { return HashBytes(std::as_bytes(std::span(text))); }

}  // namespace rondo
