// tar archives.
#include <numeric>

#include "audio/tar.h"
#include "fuzz/input.h"

using namespace rondo;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string path = fuzz::InputFile(fuzz::Text(data, size));
  fuzz::Refusable([&] {
    const auto index = TarIndex::Open(path);
    unsigned sum = 0;
    for (const auto& [name, bytes] : index->members()) {
      for (const std::byte byte : bytes) sum += static_cast<unsigned>(byte);
    }
    index->Get(std::to_string(sum));
  });
  return 0;
}
