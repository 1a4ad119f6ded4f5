#include "cli/session.h"

#include <cstdio>

#include "base/byte_source.h"
#include "rondo/error.h"

namespace rondo::cli {

std::vector<int32_t> EncodeFile(const Tokenizer& tokenizer, const std::string& file) {
  // Text is data here: "<|im_start|>" in an article is not a control token.
  return tokenizer.Encode(ReadPackedText(file), {.add_special = true, .parse_special = false});
}

int Positions(const char* what, const std::optional<int>& given, int usual,
              const ModelConfig& config) {
  if (given && config.max_positions > 0 && *given > config.max_positions) {
    throw Error(
        {.function = "Positions",
         .problem = "value " + std::to_string(*given),
         .expected = "at most the model's " + std::to_string(config.max_positions) + " positions",
         .field = what});
  }
  if (given) return *given;
  if (config.max_positions == 0 || config.max_positions >= usual) return usual;
  std::fprintf(stderr, "rondo: %s: %d, all that the model has (%d otherwise)\n", what,
               config.max_positions, usual);
  return config.max_positions;
}

WindowOptions ToWindows(const TextOptions& text, const ModelConfig& config,
                        const CommonOptions& common) {
  return {.context = Positions("--context", text.context, WindowOptions().context, config),
          .stride = text.stride,
          .max_tokens = text.max_tokens,
          .quiet = common.quiet};
}

}  // namespace rondo::cli
