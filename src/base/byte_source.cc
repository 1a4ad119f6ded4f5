#include "base/byte_source.h"

#include <lzma.h>
#include <zstd.h>
#include <zstd_errors.h>

#include <cerrno>
#include <cstdio>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "base/strings.h"
#include "rondo/error.h"

namespace rondo {
namespace {

constexpr size_t kBuffer = size_t{1} << 18;
constexpr uint64_t kDecoderMemory = uint64_t{1} << 30;

class PlainSource : public ByteSource {
 public:
  explicit PlainSource(std::string path) : path_(std::move(path)) {
    file_ = std::fopen(path_.c_str(), "rb");
    if (file_ == nullptr) FailErrno("open");
  }
  ~PlainSource() override { std::fclose(file_); }
  PlainSource(const PlainSource&) = delete;
  PlainSource& operator=(const PlainSource&) = delete;

  size_t Read(std::span<char> out) override {
    const size_t size = std::fread(out.data(), 1, out.size(), file_);
    if (size == 0 && std::ferror(file_) != 0) FailErrno("read");
    position_ += static_cast<int64_t>(size);
    return size;
  }
  int64_t position() const override { return position_; }
  const std::string& path() const { return path_; }

 private:
  [[noreturn]] void FailErrno(const char* action) const {
    const int code = errno;
    throw Error(
        {.function = "OpenBytes",
         .problem = std::string("cannot ") + action + ": " + std::generic_category().message(code),
         .file = path_});
  }

  std::string path_;
  std::FILE* file_ = nullptr;
  int64_t position_ = 0;
};

// What both formats share: compressed input in pieces, and errors.
class CompressedSource : public ByteSource {
 public:
  explicit CompressedSource(const std::string& path) : file_(path), input_(kBuffer) {}
  int64_t position() const override { return file_.position(); }

 protected:
  // The next piece; empty at the end of the file.
  std::span<const char> NextInput() { return {input_.data(), file_.Read(input_)}; }
  [[noreturn]] void Fail(const std::string& problem, const char* expected) const {
    throw Error({.function = "OpenBytes",
                 .problem = problem + " (at byte " + std::to_string(position()) + " or before)",
                 .expected = expected,
                 .file = file_.path()});
  }

 private:
  PlainSource file_;
  std::vector<char> input_;
};

class XzSource : public CompressedSource {
 public:
  explicit XzSource(const std::string& path) : CompressedSource(path) {
    if (lzma_stream_decoder(&stream_, kDecoderMemory, LZMA_CONCATENATED) != LZMA_OK) {
      throw Error({.function = "OpenBytes", .problem = "out of memory", .file = path});
    }
  }
  ~XzSource() override { lzma_end(&stream_); }
  XzSource(const XzSource&) = delete;
  XzSource& operator=(const XzSource&) = delete;

  size_t Read(std::span<char> out) override {
    stream_.next_out = reinterpret_cast<uint8_t*>(out.data());
    stream_.avail_out = out.size();
    while (!done_ && stream_.avail_out == out.size()) {
      if (stream_.avail_in == 0 && !at_end_) {
        const std::span<const char> input = NextInput();
        stream_.next_in = reinterpret_cast<const uint8_t*>(input.data());
        stream_.avail_in = input.size();
        at_end_ = input.empty();
      }
      Check(lzma_code(&stream_, at_end_ ? LZMA_FINISH : LZMA_RUN));
    }
    return out.size() - stream_.avail_out;
  }

 private:
  void Check(lzma_ret code) {
    switch (code) {
      case LZMA_OK:
        return;
      case LZMA_STREAM_END:
        done_ = true;
        return;
      case LZMA_FORMAT_ERROR:
        Fail("not an xz file, in spite of its name", "the magic bytes of xz");
      case LZMA_BUF_ERROR:
        Fail("the xz data ends too early", "a complete file");
      case LZMA_MEMLIMIT_ERROR:
        Fail("the xz data needs more than 1 GiB to decompress", "a smaller dictionary");
      case LZMA_MEM_ERROR:
        Fail("out of memory", "");
      default:
        Fail("damaged xz data", "a file that `xz --test` accepts");
    }
  }

  lzma_stream stream_ = LZMA_STREAM_INIT;
  bool at_end_ = false, done_ = false;
};

class ZstdSource : public CompressedSource {
 public:
  explicit ZstdSource(const std::string& path)
      : CompressedSource(path), stream_(ZSTD_createDStream(), &ZSTD_freeDStream) {}

  size_t Read(std::span<char> out) override {
    ZSTD_outBuffer output = {out.data(), out.size(), 0};
    while (output.pos == 0) {
      if (input_.pos == input_.size && !flush_) {
        const std::span<const char> next = NextInput();
        if (next.empty()) {
          if (pending_) Fail("the zstd data ends too early", "a complete file");
          return 0;
        }
        input_ = {next.data(), next.size(), 0};
      }
      const size_t code = ZSTD_decompressStream(stream_.get(), &output, &input_);
      if (ZSTD_isError(code) != 0) FailZstd(code);
      pending_ = code != 0;                            // the frame is not finished,
      flush_ = pending_ && output.pos == output.size;  // and some of it may wait inside
      any_ = true;
    }
    return output.pos;
  }

 private:
  [[noreturn]] void FailZstd(size_t code) const {
    if (!any_ && ZSTD_getErrorCode(code) == ZSTD_error_prefix_unknown) {
      Fail("not a zstd file, in spite of its name", "the magic bytes of zstd");
    }
    Fail(std::string("damaged zstd data: ") + ZSTD_getErrorName(code),
         "a file that `zstd --test` accepts");
  }

  std::unique_ptr<ZSTD_DStream, decltype(&ZSTD_freeDStream)> stream_;
  ZSTD_inBuffer input_ = {nullptr, 0, 0};
  bool pending_ = true, flush_ = false, any_ = false;
};

}  // namespace

std::unique_ptr<ByteSource> OpenBytes(const std::string& path) {
  if (path.ends_with(".xz")) return std::make_unique<XzSource>(path);
  if (path.ends_with(".zst")) return std::make_unique<ZstdSource>(path);
  return std::make_unique<PlainSource>(path);
}

std::string ReadPackedText(const std::string& path, uint64_t max_bytes) {
  const std::unique_ptr<ByteSource> source = OpenBytes(path);
  std::string text;
  std::vector<char> piece(kBuffer);
  while (const size_t size = source->Read(piece)) {
    if (size > max_bytes - text.size()) {
      throw Error({.function = "ReadPackedText",
                   .problem = "holds more than " + std::to_string(max_bytes) + " bytes",
                   .expected = "a smaller file",
                   .file = path});
    }
    text.append(piece.data(), size);
  }
  return text;
}

}  // namespace rondo
