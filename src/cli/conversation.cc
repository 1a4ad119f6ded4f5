#include "cli/conversation.h"

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <memory>
#include <utility>

#include "base/signals.h"
#include "cli/sampling.h"
#include "rondo/error.h"
#include "text/unicode/text_source.h"

namespace rondo::cli {
namespace {

constexpr int kUsualContext = 4096;

}  // namespace

Conversation::Conversation(const Engine& engine, const Tokenizer& tokenizer,
                           const ChatCommandOptions& options)
    : tokenizer_(tokenizer),
      options_(options),
      generate_(ToGenerateOptions(options.sample)),
      scheduler_(engine, tokenizer,
                 {.max_sequences = 1, .prefill_rows = 512, .kv_positions = Context(engine)}) {
  generate_.max_positions = Context(engine);
  if (!tokenizer.HasChatTemplate()) ChatPrompt(tokenizer, {}, options.chat_template);
  CheckUtf8(options.system, "--system");
  Reset();
}

int Conversation::Context(const Engine& engine) const {
  const int asked = options_.sample.generate.max_positions;
  const int wanted = asked > 0 ? asked : kUsualContext;
  const int limit = engine.config().max_positions;
  return limit > 0 ? std::min(wanted, limit) : wanted;
}

void Conversation::Reset() {
  messages_.clear();
  if (!options_.system.empty()) messages_.push_back({"system", options_.system});
}

void Conversation::Say(const std::string& text) {
  CheckUtf8(text, "standard input");
  messages_.push_back({"user", text});
  try {
    messages_.push_back({"assistant", Answer(PromptThatFits()).text});
  } catch (...) {
    messages_.pop_back();
    throw;
  }
  ++generate_.sampling.seed;  // or the same numbers would be drawn for every answer
  std::fputc('\n', stdout);
  std::fflush(stdout);
}

// A turn is a user's message and its answer; the one being answered stays.
bool Conversation::ForgetOldestTurn() {
  const size_t first = options_.system.empty() ? 0 : 1;
  if (messages_.size() < first + 3) return false;
  const auto begin = messages_.begin() + static_cast<std::ptrdiff_t>(first);
  messages_.erase(begin, begin + 2);
  return true;
}

// With room for an answer, of a quarter of the context at most.
std::vector<int32_t> Conversation::PromptThatFits() {
  const int context = generate_.max_positions;
  const int room = std::min(generate_.max_new_tokens, context / 4);
  int forgotten = 0;
  while (true) {
    std::vector<int32_t> prompt =
        tokenizer_.Encode(ChatPrompt(tokenizer_, messages_, options_.chat_template),
                          {.add_special = false, .parse_special = true});
    const bool fits = static_cast<int>(prompt.size()) + room <= context;
    if (!fits && ForgetOldestTurn()) {
      ++forgotten;
      continue;
    }
    if (forgotten > 0) {
      std::fprintf(stderr, "rondo: the context of %d tokens is full; %s forgotten\n", context,
                   forgotten == 1
                       ? "the oldest turn is"
                       : ("the oldest " + std::to_string(forgotten) + " turns are").c_str());
    }
    return prompt;
  }
}

Generation Conversation::Answer(std::vector<int32_t> prompt) {
  const auto stop =
      std::make_shared<std::atomic<bool>>(false);  // the request may outlive its scope
  Generation answer;
  const InterruptScope interrupts([stop] { *stop = true; });
  const uint64_t id = scheduler_.Submit(
      {.prompt = std::move(prompt),
       .options = generate_,
       .on_text = [stop](std::string_view text) { return PrintPiece(text) && !*stop; },
       .on_done = [&answer](const Generation& result) { answer = result; }});
  while (scheduler_.Step()) {
    if (*stop) scheduler_.Cancel(id);  // also while the prompt is read
  }
  if (answer.reason == StopReason::kError) {
    throw Error({.function = "Conversation", .problem = answer.error});
  }
  return answer;
}

}  // namespace rondo::cli
