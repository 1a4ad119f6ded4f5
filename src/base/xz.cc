#include "base/xz.h"

#include <lzma.h>

#include <algorithm>
#include <memory>
#include <string_view>

#include "base/file.h"
#include "rondo/error.h"

namespace rondo {
namespace {

constexpr std::string_view kMagic(
    "\xFD"
    "7zXZ\0",
    6);
// The largest preset of xz needs 65 MiB; a hostile header may ask for gigabytes.
constexpr uint64_t kDecoderMemory = uint64_t{256} << 20;

[[noreturn]] void Fail(const std::string& path, std::string problem, std::string expected) {
  throw Error({.function = "ReadMaybeXz",
               .problem = std::move(problem),
               .expected = std::move(expected),
               .file = path,
               .field = {}});
}

std::string Describe(lzma_ret code) {
  switch (code) {
    case LZMA_MEM_ERROR:
    case LZMA_MEMLIMIT_ERROR:
      return "needs more memory to unpack than is allowed";
    case LZMA_BUF_ERROR:
      return "ends in the middle of the packed data";
    case LZMA_OPTIONS_ERROR:
      return "is packed with options that liblzma does not know";
    default:
      return "is damaged";
  }
}

}  // namespace

std::string ReadMaybeXz(const std::string& path, uint64_t max_bytes) {
  const auto file = MappedFile::Open(path);
  const std::string_view packed(reinterpret_cast<const char*>(file->bytes().data()),
                                file->bytes().size());
  if (!packed.starts_with(kMagic)) return ReadTextFile(path, max_bytes);

  lzma_stream stream = LZMA_STREAM_INIT;
  const std::unique_ptr<lzma_stream, decltype(&lzma_end)> end(&stream, lzma_end);
  if (const lzma_ret code = lzma_stream_decoder(&stream, kDecoderMemory, LZMA_CONCATENATED);
      code != LZMA_OK) {
    Fail(path, Describe(code), "an xz file");
  }
  stream.next_in = reinterpret_cast<const uint8_t*>(packed.data());
  stream.avail_in = packed.size();
  std::string text;
  for (lzma_ret code = LZMA_OK; code != LZMA_STREAM_END;) {
    const size_t have = text.size();
    text.resize(std::max<size_t>(2 * have, 64 * 1024));
    stream.next_out = reinterpret_cast<uint8_t*>(text.data() + have);
    stream.avail_out = text.size() - have;
    code = lzma_code(&stream, LZMA_FINISH);
    text.resize(text.size() - stream.avail_out);
    if (text.size() > max_bytes) {
      Fail(path, "holds more than " + std::to_string(max_bytes) + " bytes", "a smaller file");
    }
    if (code != LZMA_OK && code != LZMA_STREAM_END) Fail(path, Describe(code), "a whole xz file");
  }
  return text;
}

}  // namespace rondo
