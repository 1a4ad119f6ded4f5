#include "cli/session.h"

#include <cstdio>

#include "base/byte_source.h"
#include "rondo/error.h"

namespace rondo::cli {

std::vector<int32_t> EncodeFile(const Tokenizer& tokenizer, const std::string& file) {
  // Text is data here: "<|im_start|>" in an article is not a control token.
  return tokenizer.Encode(ReadPackedText(file), {.add_special = true, .parse_special = false});
}

int Fitting(const char* flag, const std::optional<int>& given, int usual, int room) {
  if (given) return *given;
  if (usual <= room) return usual;
  std::fprintf(stderr, "rondo: %s: %d, all that the model has room for (%d otherwise)\n", flag,
               room, usual);
  return room;
}

int Positions(const char* flag, const std::optional<int>& given, int usual,
              const ModelConfig& config) {
  const int most = config.max_positions;
  if (most == 0) return given.value_or(usual);
  if (given.value_or(0) > most) {
    throw Error({.function = "Positions",
                 .problem = "value " + std::to_string(*given),
                 .expected = "at most the model's " + std::to_string(most) + " positions",
                 .field = flag});
  }
  return Fitting(flag, given, usual, most);
}

WindowOptions ToWindows(const TextOptions& text, const ModelConfig& config,
                        const CommonOptions& common) {
  return {.context = Positions("--context", text.context, WindowOptions().context, config),
          .stride = text.stride,
          .max_tokens = text.max_tokens,
          .quiet = common.quiet};
}

}  // namespace rondo::cli
