#include "cli/session.h"

#include <cstdio>

#include "base/strings.h"
#include "base/warn.h"
#include "rondo/adapter.h"
#include "rondo/error.h"
#include "text/unicode/text_source.h"

namespace rondo::cli {

Model Adapted(Model model, const CommonOptions& common, ThreadPool& pool) {
  for (const std::string& adapter : common.adapters) MergeAdapter(adapter, &model, pool);
  return model;
}

Model LoadAdapted(const std::string& path, const CommonOptions& common, ThreadPool& pool) {
  return Adapted(LoadModel(path), common, pool);
}

void WarnOfFewTokens(const std::string& text, size_t tokens, int64_t asked, int64_t least) {
  const auto have = static_cast<int64_t>(tokens);
  if (have < asked) {
    Warn(text + ": " + WithThousands(have) + " tokens, fewer than the " + WithThousands(asked) +
         " asked for by --calibrate-tokens; all of them are used");
  }
  if (const int64_t used = std::min(have, asked); used < least) {
    Warn("calibration on " + WithThousands(used) + " tokens; below " + WithThousands(least) +
         " the fit follows the text more than the model");
  }
}

std::vector<int32_t> EncodeFile(const Tokenizer& tokenizer, const std::string& file) {
  // Text is data here: "<|im_start|>" in an article is not a control token.
  return tokenizer.Encode(ReadText(file), {.add_special = true, .parse_special = false});
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
