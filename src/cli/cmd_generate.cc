#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <iostream>
#include <string>
#include <vector>

#include "base/machine.h"
#include "base/options.h"
#include "cli/command_line.h"
#include "cli/output.h"
#include "cli/session.h"
#include "rondo/error.h"
#include "rondo/generate.h"
#include "rondo/scheduler.h"
#include "text/unicode/text_source.h"

namespace rondo::cli {
namespace {

constexpr int kChatContext = 4096;

GenerateOptions ToGenerateOptions(const SampleFlags& flags) {
  GenerateOptions options = flags.generate;
  if (flags.exit_threshold) {
    options.exit.threshold = *flags.exit_threshold;
    if (options.exit.rule == ExitRule::kNever) options.exit.rule = ExitRule::kConfidence;
  } else if (options.exit.rule != ExitRule::kNever) {
    throw UsageError({.function = "ToGenerateOptions",
                      .problem = "no --exit-threshold",
                      .expected = "one for the rule",
                      .field = "--exit " + std::string(Name(options.exit.rule))});
  }
  return options;
}

bool PrintPiece(std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
  return true;
}

std::string PromptText(const GenerateCommandOptions& options, const Tokenizer& tokenizer) {
  const std::string text =
      options.prompt_file.empty() ? options.prompt : ReadText(options.prompt_file);
  CheckUtf8(text, "--prompt");
  if (!options.chat) return text;
  const std::vector<ChatMessage> messages = {{"user", text}};
  return tokenizer.ApplyChatTemplate(messages);
}

double PerSecond(int64_t count, double seconds) {
  return seconds > 0 ? static_cast<double>(count) / seconds : 0;
}

double MeanLoops(const Generation& result) {
  double sum = 0;
  for (const uint8_t loops : result.loops) sum += loops;
  return result.loops.empty() ? 0 : sum / static_cast<double>(result.loops.size());
}

// One conversation: what was said. Its keys and values stay with the scheduler from turn to turn.
class Conversation {
 public:
  Conversation(const Engine& engine, const Tokenizer& tokenizer, const ChatCommandOptions& options)
      : tokenizer_(tokenizer),
        options_(options),
        generate_(ToGenerateOptions(options.sample)),
        scheduler_(engine, tokenizer,
                   {.max_sequences = 1, .prefill_rows = 512, .kv_positions = Context(engine)}) {
    generate_.max_positions = Context(engine);
    Reset();
  }

  void Reset() {
    messages_.clear();
    if (!options_.system.empty()) messages_.push_back({"system", options_.system});
  }

  void Say(const std::string& text) {
    CheckUtf8(text, "standard input");
    messages_.push_back({"user", text});
    Generation answer;
    scheduler_.Submit({.prompt = tokenizer_.Encode(tokenizer_.ApplyChatTemplate(messages_),
                                                   {.add_special = false, .parse_special = true}),
                       .options = generate_,
                       .on_text = PrintPiece,
                       .on_done = [&](const Generation& result) { answer = result; }});
    while (scheduler_.Step()) {
    }
    if (answer.reason == StopReason::kError) {
      throw Error({.function = "RunChat", .problem = answer.error});
    }
    messages_.push_back({"assistant", answer.text});
    std::fputc('\n', stdout);
  }

 private:
  int Context(const Engine& engine) const {
    const int wanted = options_.sample.generate.max_positions > 0
                           ? options_.sample.generate.max_positions
                           : kChatContext;
    const int limit = engine.config().max_positions;
    return limit > 0 ? std::min(wanted, limit) : wanted;
  }

  const Tokenizer& tokenizer_;
  const ChatCommandOptions& options_;
  GenerateOptions generate_;
  Scheduler scheduler_;
  std::vector<ChatMessage> messages_;
};

}  // namespace

int RunGenerate(const GenerateCommandOptions& options, const CommonOptions& common) {
  ThreadPool pool(common.threads);
  const GenerateOptions generate = ToGenerateOptions(options.sample);
  const Model model = LoadAdapted(options.model, common, pool);
  const auto tokenizer = LoadTokenizer(model.path);
  const std::string text = PromptText(options, *tokenizer);
  const auto prompt =
      tokenizer->Encode(text, {.add_special = !options.chat, .parse_special = true});
  if (prompt.empty()) {
    throw Error({.function = "RunGenerate",
                 .problem = "the prompt is empty and this model adds no first token",
                 .expected = "text",
                 .field = "--prompt"});
  }
  const Engine engine(model, options.sample.engine, pool);
  if (!common.json && !options.chat) PrintPiece(text);
  const Generation result =
      Generate(engine, *tokenizer, prompt, generate, common.json ? TextCallback() : PrintPiece);
  if (!common.json) {
    std::fputc('\n', stdout);
    return 0;
  }
  const auto drawn = static_cast<int64_t>(result.tokens.size());
  Output out;
  out.Add("text", result.text);
  out.Add("stop_reason", std::string(Name(result.reason)));
  out.Add("prompt_tokens", static_cast<int64_t>(prompt.size()));
  out.Add("new_tokens", drawn);
  out.Add("prefill_tok_per_s",
          PerSecond(static_cast<int64_t>(prompt.size()), result.prefill_seconds));
  out.Add("decode_tok_per_s", PerSecond(drawn - 1, result.decode_seconds));
  out.Add("mean_loops", MeanLoops(result));
  out.Add("drafted", result.drafted);
  out.Add("accepted", result.accepted);
  out.Add("peak_memory_bytes", PeakMemoryBytes());
  out.Print(true);
  return 0;
}

int RunChat(const ChatCommandOptions& options, const CommonOptions& common) {
  ThreadPool pool(common.threads);
  const Model model = LoadAdapted(options.model, common, pool);
  const auto tokenizer = LoadTokenizer(model.path);
  const Engine engine(model, options.sample.engine, pool);
  Conversation conversation(engine, *tokenizer, options);
  const bool terminal = isatty(STDIN_FILENO) == 1;
  if (terminal) std::fputs("/reset forgets, /exit leaves\n", stderr);
  std::string line;
  while (true) {
    if (terminal) std::fputs("> ", stderr);
    if (!std::getline(std::cin, line) || line == "/exit") return 0;
    if (line.empty()) continue;
    if (line == "/reset") {
      conversation.Reset();
      continue;
    }
    try {
      conversation.Say(line);
    } catch (const Error& error) {
      if (!terminal) throw;
      std::fprintf(stderr, "%s\n", UserText(error).c_str());
      conversation.Reset();
    }
  }
}

}  // namespace rondo::cli
