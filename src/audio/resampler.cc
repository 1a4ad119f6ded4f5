#include <soxr.h>

#include <algorithm>
#include <cmath>
#include <string>

#include "base/strings.h"
#include "rondo/audio.h"
#include "rondo/error.h"

namespace rondo {

constexpr double kMaxRate = 768000;

struct Resampler::State {
  soxr_t soxr = nullptr;
  double ratio = 1;  // samples out for each in
  ~State() { soxr_delete(soxr); }

  void Process(const float* in, size_t count, std::vector<float>& out) {
    // soxr takes what it can; a null input asks for the rest.
    while (true) {
      const size_t before = out.size();
      const size_t room = static_cast<size_t>(std::ceil(static_cast<double>(count) * ratio)) + 1024;
      out.resize(before + room);
      size_t taken = 0, given = 0;
      const soxr_error_t error =
          soxr_process(soxr, in, count, &taken, out.data() + before, room, &given);
      out.resize(before + given);
      if (error != nullptr) throw Error({.function = "Resampler", .problem = error});
      if (in != nullptr) {
        in += taken;
        count -= taken;
        if (count == 0) return;
      } else if (given == 0) {
        return;
      }
    }
  }
};

Resampler::Resampler(double from, double to) {
  for (const double rate : {from, to}) {
    if (rate >= 1 && rate <= kMaxRate) continue;
    throw Error({.function = "Resampler",
                 .problem = "sampling rate " + ShortestNumber(rate),
                 .expected = "1 to 768000 Hz"});
  }
  if (from == to) return;
  state_ = std::make_unique<State>();
  state_->ratio = to / from;
  const soxr_io_spec_t types = soxr_io_spec(SOXR_FLOAT32_I, SOXR_FLOAT32_I);
  const soxr_quality_spec_t quality = soxr_quality_spec(SOXR_HQ, 0);
  const soxr_runtime_spec_t runtime = soxr_runtime_spec(1);
  soxr_error_t error = nullptr;
  state_->soxr = soxr_create(from, to, 1, &error, &types, &quality, &runtime);
  if (error != nullptr) throw Error({.function = "Resampler", .problem = error});
}

Resampler::~Resampler() = default;

void Resampler::Push(std::span<const float> in, std::vector<float>& out) {
  if (state_ == nullptr) {
    out.insert(out.end(), in.begin(), in.end());
  } else if (!in.empty()) {
    state_->Process(in.data(), in.size(), out);
  }
}

void Resampler::Finish(std::vector<float>& out) {
  if (state_ != nullptr) state_->Process(nullptr, 0, out);
}

std::vector<float> Resample(std::span<const float> samples, double from, double to) {
  std::vector<float> out;
  Resampler resampler(from, to);
  resampler.Push(samples, out);
  resampler.Finish(out);
  return out;
}

std::vector<float> ChangeSpeed(std::span<const float> samples, double factor) {
  if (!(factor >= 0.1 && factor <= 10)) {
    throw Error({.function = "ChangeSpeed",
                 .problem = "factor " + ShortestNumber(factor),
                 .expected = "0.1 to 10"});
  }
  // Only the ratio of the rates counts.
  constexpr double kRate = 16000;
  return Resample(samples, kRate * factor, kRate);
}

}  // namespace rondo
