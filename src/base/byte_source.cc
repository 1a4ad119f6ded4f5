#include "base/byte_source.h"

#include <bzlib.h>
#include <lzma.h>
#include <zlib.h>
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

// What all formats share: compressed input in pieces, and errors.
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

// Feeds zlib or bzip2 (whose streams have the same members) and goes on behind the end of a stream
// while another follows.
template <typename Stream>
class StreamSource : public CompressedSource {
 public:
  explicit StreamSource(const std::string& path) : CompressedSource(path) {}

  size_t Read(std::span<char> out) override {
    stream_.next_out = reinterpret_cast<decltype(stream_.next_out)>(out.data());
    const size_t room = std::min<size_t>(out.size(), size_t{1} << 30);
    stream_.avail_out = static_cast<unsigned>(room);
    while (!done_ && stream_.avail_out == room) {
      if (stream_.avail_in == 0 && !Refill()) break;
      if (between_) {
        Restart();
        between_ = false;
      }
      between_ = Step();
    }
    return room - stream_.avail_out;
  }

 protected:
  virtual bool Step() = 0;  // true at the end of a stream
  virtual void Restart() = 0;
  virtual const char* format() const = 0;
  Stream stream_ = {};

 private:
  bool Refill() {
    const std::span<const char> input = NextInput();
    if (input.empty()) {
      if (!between_) {
        Fail(std::string("the ") + format() + " data ends too early", "a complete file");
      }
      done_ = true;
      return false;
    }
    stream_.next_in = reinterpret_cast<decltype(stream_.next_in)>(const_cast<char*>(input.data()));
    stream_.avail_in = static_cast<unsigned>(input.size());
    return true;
  }

  bool between_ = false, done_ = false;
};

class GzipSource : public StreamSource<z_stream> {
 public:
  explicit GzipSource(const std::string& path) : StreamSource(path) {
    constexpr int kGzipOnly = 16 + MAX_WBITS;
    if (inflateInit2(&stream_, kGzipOnly) != Z_OK) Fail("out of memory", "");
  }
  ~GzipSource() override { inflateEnd(&stream_); }
  GzipSource(const GzipSource&) = delete;
  GzipSource& operator=(const GzipSource&) = delete;

 private:
  bool Step() override {
    const int code = inflate(&stream_, Z_NO_FLUSH);
    if (code == Z_STREAM_END) return true;
    if (code == Z_MEM_ERROR) Fail("out of memory", "");
    if (code != Z_OK && code != Z_BUF_ERROR) {
      Fail(std::string("damaged gzip data") + (stream_.msg != nullptr ? ": " : "") +
               (stream_.msg != nullptr ? stream_.msg : ""),
           "a file that `gzip --test` accepts");
    }
    return false;
  }
  void Restart() override { inflateReset(&stream_); }
  const char* format() const override { return "gzip"; }
};

class Bzip2Source : public StreamSource<bz_stream> {
 public:
  explicit Bzip2Source(const std::string& path) : StreamSource(path) { Start(); }
  ~Bzip2Source() override { BZ2_bzDecompressEnd(&stream_); }
  Bzip2Source(const Bzip2Source&) = delete;
  Bzip2Source& operator=(const Bzip2Source&) = delete;

 private:
  void Start() {
    if (BZ2_bzDecompressInit(&stream_, 0, 0) != BZ_OK) Fail("out of memory", "");
  }
  bool Step() override {
    const int code = BZ2_bzDecompress(&stream_);
    if (code == BZ_STREAM_END) return true;
    if (code == BZ_MEM_ERROR) Fail("out of memory", "");
    if (code != BZ_OK) Fail("damaged bzip2 data", "a file that `bzip2 --test` accepts");
    return false;
  }
  void Restart() override {
    const bz_stream kept = stream_;
    BZ2_bzDecompressEnd(&stream_);
    stream_ = {};
    stream_.next_in = kept.next_in;
    stream_.avail_in = kept.avail_in;
    stream_.next_out = kept.next_out;
    stream_.avail_out = kept.avail_out;
    Start();
  }
  const char* format() const override { return "bzip2"; }
};

enum class Packing { kPlain, kXz, kZstd, kGzip, kBzip2 };

struct Kind {
  Packing packing;
  std::string_view ending;
  std::string_view magic;
};
constexpr Kind kKinds[] = {{Packing::kXz, ".xz",
                            std::string_view("\xFD"
                                             "7zXZ\0",
                                             6)},
                           {Packing::kZstd, ".zst", "\x28\xB5\x2F\xFD"},
                           {Packing::kGzip, ".gz", "\x1F\x8B\x08"},
                           {Packing::kBzip2, ".bz2", "BZh"}};

bool StartsAsBzip2(std::string_view head) {
  return head.size() >= 10 && head[3] >= '1' && head[3] <= '9' &&
         (head.substr(4, 6) == "1AY&SY" || head.substr(4, 6) == "\x17\x72\x45\x38\x50\x90");
}

Packing PackingOf(const std::string& path) {
  char bytes[16];
  const std::string_view head(bytes, PlainSource(path).Read(bytes));
  for (const Kind& kind : kKinds) {
    const bool is =
        head.starts_with(kind.magic) && (kind.packing != Packing::kBzip2 || StartsAsBzip2(head));
    if (is) return kind.packing;
  }
  for (const Kind& kind : kKinds) {
    if (path.ends_with(kind.ending)) return kind.packing;
  }
  return Packing::kPlain;
}

}  // namespace

std::string_view WithoutPacking(std::string_view path) {
  for (const Kind& kind : kKinds) {
    if (path.ends_with(kind.ending)) return path.substr(0, path.size() - kind.ending.size());
  }
  return path;
}

std::unique_ptr<ByteSource> OpenBytes(const std::string& path) {
  switch (PackingOf(path)) {
    case Packing::kXz:
      return std::make_unique<XzSource>(path);
    case Packing::kZstd:
      return std::make_unique<ZstdSource>(path);
    case Packing::kGzip:
      return std::make_unique<GzipSource>(path);
    case Packing::kBzip2:
      return std::make_unique<Bzip2Source>(path);
    case Packing::kPlain:
      break;
  }
  return std::make_unique<PlainSource>(path);
}

}  // namespace rondo
