#include <mpg123.h>

#include <utility>

#include "audio/sound_decoder.h"
#include "rondo/error.h"

namespace rondo {
namespace {

constexpr size_t kBlockValues = 8192;

SoundBytes& Of(void* self) { return *static_cast<SoundBytes*>(self); }

ssize_t Read(void* self, void* out, size_t count) {
  return static_cast<ssize_t>(Of(self).Read({static_cast<std::byte*>(out), count}));
}

off_t Seek(void* self, off_t offset, int whence) {
  SoundBytes& bytes = Of(self);
  const int64_t base = whence == SEEK_CUR   ? bytes.position()
                       : whence == SEEK_END ? bytes.Length()
                                            : 0;
  return bytes.SeekTo(base + offset);
}

class MpegDecoder : public SoundDecoder {
 public:
  MpegDecoder(std::unique_ptr<SoundBytes> bytes, std::string name)
      : bytes_(std::move(bytes)), name_(std::move(name)), mix_(name_), values_(kBlockValues) {
    int error = MPG123_OK;
    mpeg_.reset(mpg123_new(nullptr, &error));
    if (mpeg_ == nullptr) Fail(mpg123_plain_strerror(error));
    mpg123_param(mpeg_.get(), MPG123_ADD_FLAGS, MPG123_FORCE_FLOAT | MPG123_QUIET, 0);
    mpg123_param(mpeg_.get(), MPG123_RESYNC_LIMIT, -1, 0);
    if (mpg123_replace_reader_handle(mpeg_.get(), Read, Seek, nullptr) != MPG123_OK ||
        mpg123_open_handle(mpeg_.get(), bytes_.get()) != MPG123_OK) {
      Fail(mpg123_strerror(mpeg_.get()));
    }
    AskFormat();
  }

  int rate() const override { return static_cast<int>(rate_); }

  SoundBlock NextBlock() override {
    while (true) {
      size_t done = 0;
      const int status =
          mpg123_read(mpeg_.get(), values_.data(), values_.size() * sizeof(float), &done);
      const size_t count = done / sizeof(float);
      const SoundBlock block = {mix_.Mix(std::span(values_).first(count), channels_), rate()};
      if (status == MPG123_NEW_FORMAT) AskFormat();  // of what comes behind `block`
      if (!block.samples.empty()) return block;
      if (status == MPG123_OK || status == MPG123_NEW_FORMAT) continue;
      if (status == MPG123_DONE || status == MPG123_NEED_MORE) return {};
      Fail(mpg123_strerror(mpeg_.get()));
    }
  }

 private:
  void AskFormat() {
    int encoding = 0;
    if (mpg123_getformat(mpeg_.get(), &rate_, &channels_, &encoding) != MPG123_OK ||
        encoding != MPG123_ENC_FLOAT_32 || channels_ < 1 || rate_ < 1) {
      Fail(mpg123_strerror(mpeg_.get()));
    }
  }
  [[noreturn]] void Fail(const char* reason) const {
    throw Error({.function = "DecodeAudio",
                 .problem = std::string("damaged: ") + reason,
                 .expected = "MP3",
                 .file = name_});
  }

  std::unique_ptr<SoundBytes> bytes_;  // libmpg123 keeps its address
  std::string name_;
  MixDown mix_;
  std::vector<float> values_;
  std::unique_ptr<mpg123_handle, void (*)(mpg123_handle*)> mpeg_{nullptr, mpg123_delete};
  long rate_ = 0;
  int channels_ = 1;
};

}  // namespace

std::unique_ptr<SoundDecoder> OpenMpeg(std::unique_ptr<SoundBytes> bytes, std::string name) {
  return std::make_unique<MpegDecoder>(std::move(bytes), std::move(name));
}

}  // namespace rondo
