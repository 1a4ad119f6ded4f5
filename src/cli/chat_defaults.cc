#include "cli/chat_defaults.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/json.h"

namespace rondo::cli {

void ReadGenerationConfig(const std::string& model, SamplingOptions* sampling) {
  const std::filesystem::path path = std::filesystem::path(model) / "generation_config.json";
  if (!IsRegularFile(path)) return;
  const nlohmann::json json = ParseJsonChecked(ReadTextFile(path.string()), path.string());
  JsonObject object(json, "ReadGenerationConfig", path.string());
  if (!object.Bool("do_sample", true)) {
    sampling->temperature = 0;
    sampling->top_p = 1;
    return;
  }
  const SamplingOptions off = {.temperature = 1};
  SamplingOptions read = off;
  read.temperature = static_cast<float>(object.Number("temperature", off.temperature));
  read.top_k = object.Int("top_k", off.top_k);
  read.top_p = static_cast<float>(object.Number("top_p", off.top_p));
  read.min_p = static_cast<float>(object.Number("min_p", off.min_p));
  constexpr const char* kNames[] = {"temperature", "top_k", "top_p", "min_p"};
  const bool any =
      std::ranges::any_of(kNames, [&](const char* name) { return object.Find(name) != nullptr; });
  if (any) {
    read.seed = sampling->seed;
    read.repetition_penalty = sampling->repetition_penalty;
    *sampling = read;
  }
  sampling->repetition_penalty =
      static_cast<float>(object.Number("repetition_penalty", sampling->repetition_penalty));
}

}  // namespace rondo::cli
