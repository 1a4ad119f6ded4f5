#include "cli/session.h"

#include <algorithm>

#include "base/strings.h"
#include "kernels/matmul.h"
#include "rondo/error.h"
#include "text/unicode/text_source.h"

namespace rondo::cli {

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
