// Sound of every format, decoded, mixed and resampled.
#include <cmath>
#include <memory>
#include <span>
#include <vector>

#include "fuzz/input.h"
#include "rondo/audio.h"

using namespace rondo;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  // A copy of the input's own size, so that the sanitizer sees its end.
  const auto bytes = std::make_shared<std::vector<uint8_t>>(data, data + size);
  fuzz::Refusable([&] {
    const auto source =
        DecodeAudio(std::as_bytes(std::span(*bytes)), bytes, "input", size % 2 == 0 ? 16000 : 0);
    std::vector<float> samples(4096);
    for (size_t count = 1; count > 0;) {
      count = source->Read(samples);
      for (size_t i = 0; i < count; ++i) {
        fuzz::Require(std::isfinite(samples[i]), "samples are numbers");
      }
    }
  });
  return 0;
}
