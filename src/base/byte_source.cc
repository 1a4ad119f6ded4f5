#include "base/byte_source.h"

#include <bzlib.h>
#include <fcntl.h>
#include <lzma.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#include <algorithm>
#include <cerrno>
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
  explicit PlainSource(const std::string& path)
      : path_(IsStandardInput(path) ? "standard input" : path) {
    if (IsStandardInput(path)) {
      descriptor_ = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0);
      if (descriptor_ < 0) FailErrno("open");
    } else {
      Open();
    }
  }
  ~PlainSource() override { close(descriptor_); }
  PlainSource(const PlainSource&) = delete;
  PlainSource& operator=(const PlainSource&) = delete;

  size_t Read(std::span<char> out) override {
    size_t size = std::min(out.size(), head_.size());
    if (size > 0) {
      std::copy_n(head_.begin(), size, out.begin());
      head_.erase(0, size);
    } else {
      size = ReadFile(out);
    }
    position_ += static_cast<int64_t>(size);
    return size;
  }
  int64_t position() const override { return position_; }
  const std::string& path() const { return path_; }

  // The first bytes, which Read() gives again; fewer than `size` where there are no more.
  std::string_view Peek(size_t size) {
    while (head_.size() < size) {
      char bytes[64];
      const size_t count =
          ReadFile(std::span(bytes).first(std::min(size - head_.size(), sizeof(bytes))));
      if (count == 0) break;
      head_.append(bytes, count);
    }
    return std::string_view(head_).substr(0, size);
  }

 private:
  // A pipe is opened without waiting for a writer, and refused where there is none: a program must
  // not wait for what may never come.
  void Open() {
    descriptor_ = open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (descriptor_ < 0) FailErrno("open");
    try {
      struct stat info;
      if (fstat(descriptor_, &info) != 0) FailErrno("look");
      if (S_ISFIFO(info.st_mode)) FindWriter();
      const int flags = fcntl(descriptor_, F_GETFL);
      if (flags < 0 || fcntl(descriptor_, F_SETFL, flags & ~O_NONBLOCK) != 0) FailErrno("open");
    } catch (...) {
      close(descriptor_);
      throw;
    }
  }

  void FindWriter() {
    char bytes[256];
    const ssize_t size = read(descriptor_, bytes, sizeof(bytes));
    if (size > 0) head_.assign(bytes, static_cast<size_t>(size));
    if (size < 0 && errno != EAGAIN) FailErrno("read");
    if (size != 0) return;
    throw Error({.function = "OpenBytes",
                 .problem = "is a pipe that nobody writes to",
                 .expected = "a file, or a pipe with a writer",
                 .file = path_});
  }

  // At least one byte; 0 at the end.
  size_t ReadFile(std::span<char> out) const {
    while (true) {
      const ssize_t size = read(descriptor_, out.data(), out.size());
      if (size >= 0) return static_cast<size_t>(size);
      if (errno == EAGAIN) {  // standard input that somebody made so
        pollfd wait = {descriptor_, POLLIN, 0};
        poll(&wait, 1, -1);
      } else if (errno != EINTR) {
        FailErrno("read");
      }
    }
  }

  [[noreturn]] void FailErrno(const char* action) const {
    const int code = errno;
    throw Error(
        {.function = "OpenBytes",
         .problem = std::string("cannot ") + action + ": " + std::generic_category().message(code),
         .file = path_});
  }

  std::string path_;
  int descriptor_ = -1;
  std::string head_;  // read already, not given out yet
  int64_t position_ = 0;
};

using PlainFile = std::unique_ptr<PlainSource>;

// What all formats share: compressed input in pieces, and errors.
class CompressedSource : public ByteSource {
 public:
  explicit CompressedSource(PlainFile file) : file_(std::move(file)), input_(kBuffer) {}
  int64_t position() const override { return file_->position(); }

 protected:
  // The next piece; empty at the end of the file.
  std::span<const char> NextInput() { return {input_.data(), file_->Read(input_)}; }
  [[noreturn]] void Fail(const std::string& problem, const char* expected) const {
    throw Error({.function = "OpenBytes",
                 .problem = problem + " (at byte " + std::to_string(position()) + " or before)",
                 .expected = expected,
                 .file = file_->path()});
  }

 private:
  PlainFile file_;
  std::vector<char> input_;
};

class XzSource : public CompressedSource {
 public:
  explicit XzSource(PlainFile file) : CompressedSource(std::move(file)) {
    if (lzma_stream_decoder(&stream_, kDecoderMemory, LZMA_CONCATENATED) != LZMA_OK) {
      Fail("out of memory", "");
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
  explicit ZstdSource(PlainFile file)
      : CompressedSource(std::move(file)), stream_(ZSTD_createDStream(), &ZSTD_freeDStream) {}

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
  explicit StreamSource(PlainFile file) : CompressedSource(std::move(file)) {}

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
  explicit GzipSource(PlainFile file) : StreamSource(std::move(file)) {
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
  explicit Bzip2Source(PlainFile file) : StreamSource(std::move(file)) { Start(); }
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

Packing PackingOf(PlainSource& file) {
  const std::string_view head = file.Peek(16);
  for (const Kind& kind : kKinds) {
    const bool is =
        head.starts_with(kind.magic) && (kind.packing != Packing::kBzip2 || StartsAsBzip2(head));
    if (is) return kind.packing;
  }
  for (const Kind& kind : kKinds) {
    if (file.path().ends_with(kind.ending)) return kind.packing;
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

bool IsStandardInput(std::string_view path) { return path == "-" || path == "/dev/stdin"; }

std::unique_ptr<ByteSource> OpenBytes(const std::string& path) {
  auto file = std::make_unique<PlainSource>(path);
  switch (PackingOf(*file)) {
    case Packing::kXz:
      return std::make_unique<XzSource>(std::move(file));
    case Packing::kZstd:
      return std::make_unique<ZstdSource>(std::move(file));
    case Packing::kGzip:
      return std::make_unique<GzipSource>(std::move(file));
    case Packing::kBzip2:
      return std::make_unique<Bzip2Source>(std::move(file));
    case Packing::kPlain:
      break;
  }
  return file;
}

}  // namespace rondo
