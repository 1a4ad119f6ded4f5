#include "audio/resampling_source.h"

#include <algorithm>

namespace rondo {

void ResamplingSource::Take(const SoundBlock& block) {
  ended_ = block.samples.empty();
  if (resampler_ != nullptr && (ended_ || block.rate != from_)) {
    resampler_->Finish(ready_);
    resampler_.reset();
  }
  if (ended_) return;
  if (resampler_ == nullptr) {
    resampler_ = std::make_unique<Resampler>(block.rate, rate_);
    from_ = block.rate;
  }
  resampler_->Push(block.samples, ready_);
}

size_t ResamplingSource::Read(std::span<float> out) {
  while (begin_ == ready_.size() && !ended_) {
    ready_.clear();
    begin_ = 0;
    Take(NextBlock());
  }
  const size_t count = std::min(out.size(), ready_.size() - begin_);
  std::copy_n(ready_.begin() + static_cast<ptrdiff_t>(begin_), count, out.begin());
  begin_ += count;
  return count;
}

}  // namespace rondo
