#include "cli/stop_request.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

#include "rondo/error.h"

namespace rondo::cli {
namespace {

class UntilAsked : public AudioSource {
 public:
  UntilAsked(std::unique_ptr<AudioSource> source, const StopRequest& stop)
      : source_(std::move(source)), stop_(stop) {}
  int sample_rate() const override { return source_->sample_rate(); }
  size_t Read(std::span<float> out) override { return stop_.asked() ? 0 : source_->Read(out); }

 private:
  std::unique_ptr<AudioSource> source_;
  const StopRequest& stop_;
};

}  // namespace

StopRequest::StopRequest() : descriptor_(eventfd(0, EFD_CLOEXEC)), scope_([this] { Ask(); }) {
  if (descriptor_ >= 0) return;
  throw Error(
      {.function = "StopRequest", .problem = "eventfd: " + std::generic_category().message(errno)});
}

StopRequest::~StopRequest() { close(descriptor_); }

void StopRequest::Ask() {
  asked_ = true;
  const uint64_t one = 1;
  static_cast<void>(!write(descriptor_, &one, sizeof(one)));
}

std::unique_ptr<AudioSource> StopRequest::Until(std::unique_ptr<AudioSource> source) const {
  return std::make_unique<UntilAsked>(std::move(source), *this);
}

}  // namespace rondo::cli
