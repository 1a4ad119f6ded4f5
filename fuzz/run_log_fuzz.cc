// Logs of training runs, which reports read.
#include "fuzz/input.h"
#include "report/run_data.h"

using namespace rondo;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string path = fuzz::InputFile(fuzz::Text(data, size));
  fuzz::Refusable([&] {
    for (const RunData& run : LoadRuns({path})) Summarise(run);
  });
  return 0;
}
