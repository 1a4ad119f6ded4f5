// Low-rank adapters: a GGUF file, or PEFT's configuration and tensors.
#include "fuzz/input.h"
#include "fuzz/small_model.h"
#include "rondo/adapter.h"

using namespace rondo;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static ThreadPool pool(1);
  static const Model base = fuzz::SmallModel();
  const std::string_view input = fuzz::Text(data, size);
  std::string path;
  if (input.starts_with("GGUF")) {
    path = fuzz::InputFile(input);
  } else {
    const auto parts = fuzz::Parts(input, 2);
    fuzz::WriteInput("adapter_config.json", parts[0]);
    fuzz::WriteInput("adapter_model.safetensors", parts[1]);
    path = fuzz::InputDirectory();
  }
  fuzz::Refusable([&] {
    Model model = base;
    MergeAdapter(path, &model, pool);
  });
  return 0;
}
