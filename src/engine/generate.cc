#include "rondo/generate.h"

#include <algorithm>
#include <utility>

#include "rondo/error.h"
#include "rondo/scheduler.h"

namespace rondo {

Generation Generate(const Engine& engine, const Tokenizer& tokenizer,
                    std::span<const int32_t> prompt, const GenerateOptions& options,
                    const TextCallback& callback) {
  Generation result;
  Request request{.prompt = {prompt.begin(), prompt.end()},
                  .options = options,
                  .priority = 0,
                  .on_text = callback,
                  .on_done = [&](const Generation& generation) { result = generation; }};
  const int64_t positions =
      static_cast<int64_t>(prompt.size()) + std::max(options.max_new_tokens, 1);
  const int64_t limit = engine.config().max_positions;
  Scheduler scheduler(engine, tokenizer,
                      {.max_sequences = 1,
                       .prefill_rows = 512,
                       .kv_positions = limit > 0 ? std::min(positions, limit) : positions,
                       .reuse_prefixes = false});
  scheduler.Submit(std::move(request));
  while (scheduler.Step()) {
  }
  if (result.reason == StopReason::kError) {
    throw Error({.function = "Generate", .problem = result.error, .file = {}, .field = {}});
  }
  return result;
}

}  // namespace rondo
