#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <iostream>
#include <string>
#include <vector>

#include "base/file.h"
#include "cli/output.h"
#include "cli/session.h"
#include "rondo/error.h"
#include "rondo/generate.h"

namespace rondo::cli {
namespace {

constexpr int kChatContext = 4096;

GenerateOptions ToGenerateOptions(const SampleFlags& flags) {
  GenerateOptions options;
  options.sampling = {.repetition_penalty = static_cast<float>(flags.repetition_penalty),
                      .repetition_window = 0,
                      .temperature = static_cast<float>(flags.temperature),
                      .top_k = flags.top_k,
                      .top_p = static_cast<float>(flags.top_p),
                      .min_p = static_cast<float>(flags.min_p),
                      .seed = flags.seed};
  options.max_new_tokens = flags.max_tokens;
  options.stop = flags.stop;
  return options;
}

bool PrintPiece(std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
  return true;
}

std::string PromptText(const GenerateCommandOptions& options, const Tokenizer& tokenizer) {
  const std::string text =
      options.prompt_file.empty() ? options.prompt : ReadTextFile(options.prompt_file);
  if (!options.chat) return text;
  const std::vector<ChatMessage> messages = {{"user", text}};
  return tokenizer.ApplyChatTemplate(messages);
}

const char* ReasonName(StopReason reason) {
  switch (reason) {
    case StopReason::kLength:
      return "length";
    case StopReason::kEos:
      return "eos";
    case StopReason::kStopString:
      return "stop";
    case StopReason::kCallback:
      return "cancelled";
  }
  return "";
}

double PerSecond(int64_t count, double seconds) {
  return seconds > 0 ? static_cast<double>(count) / seconds : 0;
}

// A prompt of many tokens and a model with few positions: the cache never exceeds the model's.
int CacheSize(const SampleFlags& flags, int64_t prompt, const ModelConfig& config) {
  const int64_t wanted = flags.context > 0 ? flags.context : prompt + flags.max_tokens;
  return static_cast<int>(std::min<int64_t>(wanted, config.max_positions));
}

// One conversation: what was said, and the tokens the cache already holds.
class Conversation {
 public:
  Conversation(const Engine& engine, const Tokenizer& tokenizer, const ChatCommandOptions& options)
      : engine_(engine),
        tokenizer_(tokenizer),
        options_(options),
        cache_(engine.NewCache(CacheSizeFor(engine.config(), options.sample))) {
    Reset();
  }

  void Reset() {
    messages_.clear();
    if (!options_.system.empty()) messages_.push_back({"system", options_.system});
  }

  void Say(const std::string& text) {
    messages_.push_back({"user", text});
    const auto prompt = tokenizer_.Encode(tokenizer_.ApplyChatTemplate(messages_),
                                          {.add_special = false, .parse_special = true});
    // Everything up to the first difference is in the cache already; one token must be left to run.
    const auto [cached, asked] = std::mismatch(cached_.begin(), cached_.end(), prompt.begin(),
                                               prompt.end() - (prompt.empty() ? 0 : 1));
    const auto common = static_cast<size_t>(cached - cached_.begin());
    cache_.Truncate(static_cast<int>(common));
    const Generation answer =
        Generate(engine_, tokenizer_, cache_, std::span(prompt).subspan(common),
                 ToGenerateOptions(options_.sample), PrintPiece);
    cached_ = prompt;
    cached_.insert(cached_.end(), answer.tokens.begin(), answer.tokens.end());
    cached_.resize(static_cast<size_t>(cache_.length()));
    messages_.push_back({"assistant", answer.text});
    std::fputc('\n', stdout);
  }

 private:
  static int CacheSizeFor(const ModelConfig& config, const SampleFlags& sample) {
    const int wanted = sample.context > 0 ? sample.context : kChatContext;
    return std::min(wanted, config.max_positions);
  }

  const Engine& engine_;
  const Tokenizer& tokenizer_;
  const ChatCommandOptions& options_;
  KvCache cache_;
  std::vector<int32_t> cached_;
  std::vector<ChatMessage> messages_;
};

}  // namespace

int RunGenerate(const GenerateCommandOptions& options, const CommonOptions& common) {
  ThreadPool pool(common.threads);
  const DType type = ParseType("--type", options.sample.type, false);
  const Model model = LoadModel(options.model);
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
  const Engine engine(model, {.weights = type}, pool);
  KvCache cache =
      engine.NewCache(CacheSize(options.sample, static_cast<int64_t>(prompt.size()), model.config));
  if (!common.json && !options.chat) PrintPiece(text);
  const Generation result =
      Generate(engine, *tokenizer, cache, prompt, ToGenerateOptions(options.sample),
               common.json ? TextCallback() : PrintPiece);
  if (!common.json) {
    std::fputc('\n', stdout);
    return 0;
  }
  const auto drawn = static_cast<int64_t>(result.tokens.size());
  Output out;
  out.Add("text", result.text);
  out.Add("stop_reason", ReasonName(result.reason));
  out.Add("prompt_tokens", static_cast<int64_t>(prompt.size()));
  out.Add("new_tokens", drawn);
  out.Add("prefill_tok_per_s",
          PerSecond(static_cast<int64_t>(prompt.size()), result.prefill_seconds));
  out.Add("decode_tok_per_s", PerSecond(drawn - 1, result.decode_seconds));
  out.Add("peak_memory_bytes", PeakMemoryBytes());
  out.Print(true);
  return 0;
}

int RunChat(const ChatCommandOptions& options, const CommonOptions& common) {
  ThreadPool pool(common.threads);
  const DType type = ParseType("--type", options.sample.type, false);
  const Model model = LoadModel(options.model);
  const auto tokenizer = LoadTokenizer(model.path);
  const Engine engine(model, {.weights = type}, pool);
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
      std::fprintf(stderr, "%s\n", error.what());
      conversation.Reset();
    }
  }
}

}  // namespace rondo::cli
