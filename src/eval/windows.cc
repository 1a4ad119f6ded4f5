#include "eval/windows.h"

#include <algorithm>
#include <string>

#include "rondo/error.h"

namespace rondo {
namespace {

void Require(bool ok, const char* field, int64_t got, const std::string& expected) {
  if (ok) return;
  throw Error({.function = "MakeWindows",
               .problem = "value " + std::to_string(got),
               .expected = expected,
               .field = field});
}

}  // namespace

std::vector<Window> MakeWindows(int64_t tokens, const WindowOptions& options,
                                const ModelConfig& config) {
  if (options.max_tokens > 0) tokens = std::min(tokens, options.max_tokens);
  Require(tokens >= 2, "text", tokens, "at least 2 tokens");
  Require(options.context >= 2 && options.context <= config.max_positions, "context",
          options.context,
          "2 to the model's " + std::to_string(config.max_positions) + " positions");
  const int stride = options.stride == 0 ? options.context : options.stride;
  Require(stride >= 1 && stride <= options.context, "stride", stride, "1 to the context");
  std::vector<Window> windows;
  int64_t scored_until = 0;
  for (int64_t begin = 0; scored_until < tokens; begin += stride) {
    const int64_t end = std::min(begin + options.context, tokens);
    windows.push_back({begin, end, end - scored_until});
    scored_until = end;
  }
  // A last window of one token would predict nothing.
  if (windows.back().end - windows.back().begin < 2) windows.pop_back();
  return windows;
}

}  // namespace rondo
