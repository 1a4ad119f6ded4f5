// Text files, pipes and standard input ("-") in UTF-8, whatever they are packed in: xz, zstd, gzip
// and bzip2 are unpacked. Other encodings (UTF-16 and UTF-32 are known by their byte order mark)
// and what is no text are refused, with the place and what it looks like.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/byte_source.h"

namespace rondo {

// Its pieces together are valid UTF-8; one piece may end inside a character. A byte order mark of
// UTF-8 stays.
std::unique_ptr<ByteSource> OpenText(const std::string& path);

// The whole of it; refuses more than `max_bytes`.
std::string ReadText(const std::string& path, uint64_t max_bytes = uint64_t{1} << 30);

// Throws unless `text` is UTF-8; `field` says where it comes from.
void CheckUtf8(std::string_view text, const std::string& field);

}  // namespace rondo
