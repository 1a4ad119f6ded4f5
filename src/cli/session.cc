#include "cli/session.h"

#include "base/file.h"
#include "base/strings.h"
#include "rondo/error.h"

namespace rondo::cli {

DType ParseType(const char* flag, const std::string& name, bool allow_f16) {
  std::vector<std::string> names = {"f32", "bf16"};
  if (allow_f16) names.push_back("f16");
  for (const std::string& known : names) {
    if (known == name) return DTypeFromName(name);
  }
  throw Error({.function = "ParseType",
               .problem = "unknown type '" + name + "'",
               .expected = "one of " + Join(names, ", "),
               .field = flag});
}

std::vector<int32_t> EncodeFile(const Tokenizer& tokenizer, const std::string& file) {
  // Text is data here: "<|im_start|>" in an article is not a control token.
  return tokenizer.Encode(ReadTextFile(file), {.add_special = true, .parse_special = false});
}

WindowOptions ToWindows(const TextOptions& text, const CommonOptions& common) {
  return {.context = text.context,
          .stride = text.stride,
          .max_tokens = text.max_tokens,
          .quiet = common.quiet};
}

}  // namespace rondo::cli
