#include "cli/session.h"

#include <algorithm>

#include "base/strings.h"
#include "base/warn.h"
#include "kernels/matmul.h"
#include "rondo/adapter.h"
#include "rondo/error.h"
#include "text/unicode/text_source.h"

namespace rondo::cli {

Model LoadAdapted(const std::string& path, const CommonOptions& common, ThreadPool& pool) {
  Model model = LoadModel(path);
  for (const std::string& adapter : common.adapters) MergeAdapter(adapter, &model, pool);
  return model;
}

void RefuseAdapters(const CommonOptions& common) {
  if (common.adapters.empty()) return;
  throw Error({.function = "RefuseAdapters",
               .problem = "an adapter for a speech model",
               .expected = "a language model",
               .field = "--adapter"});
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

DType ParseStoredType(const char* flag, const std::string& name) {
  const std::vector<std::string> names = {"f32", "bf16", "f16"};
  if (std::ranges::find(names, name) != names.end()) return DTypeFromName(name);
  throw Error({.function = "ParseStoredType",
               .problem = "unknown type '" + name + "'",
               .expected = "one of " + Join(names, ", "),
               .field = flag});
}

EngineOptions ToEngineOptions(const std::string& type, const std::string& kv) {
  EngineOptions options{.weights = std::nullopt, .kv = std::nullopt};
  if (type != "auto") {
    options.weights = DTypeFromName(type);
    if (!PackedMatrix::Supports(*options.weights)) {
      throw Error({.function = "ToEngineOptions",
                   .problem = "type " + type,
                   .expected = "auto, f32, bf16 or a quantised type",
                   .field = "--type"});
    }
  }
  if (kv != "auto") options.kv = KvTypeFromName(kv);
  return options;
}

std::vector<int32_t> EncodeFile(const Tokenizer& tokenizer, const std::string& file) {
  // Text is data here: "<|im_start|>" in an article is not a control token.
  return tokenizer.Encode(ReadText(file), {.add_special = true, .parse_special = false});
}

WindowOptions ToWindows(const TextOptions& text, const CommonOptions& common) {
  return {.context = text.context,
          .stride = text.stride,
          .max_tokens = text.max_tokens,
          .quiet = common.quiet};
}

}  // namespace rondo::cli
