#include "cli/sampling.h"

#include <cstdio>
#include <utility>

#include "base/options.h"
#include "text/tokenizer/load_spec.h"
#include "text/tokenizer/pipeline_tokenizer.h"
#include "text/unicode/text_source.h"

namespace rondo::cli {

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

std::shared_ptr<const Tokenizer> LoadChatTokenizer(const std::string& model,
                                                   const std::string& template_file) {
  constexpr uint64_t kMaxTemplate = 1 << 20;
  const std::string file = template_file.empty() ? "" : FindTokenizerFile(model);
  if (file.empty()) return LoadTokenizer(model);
  TokenizerSpec spec = LoadTokenizerSpec(file);
  spec.chat_template = ReadText(template_file, kMaxTemplate);
  return MakeTokenizer(std::move(spec));
}

std::string ChatPrompt(const Tokenizer& tokenizer, std::span<const ChatMessage> messages,
                       const std::string& template_file) {
  try {
    return tokenizer.ApplyChatTemplate(messages);
  } catch (const Error& error) {
    ErrorInfo info = error.info();
    if (!template_file.empty()) info.file = template_file;
    if (!tokenizer.HasChatTemplate()) {
      info.expected =
          "--chat-template FILE with one in Jinja, or rondo generate, which continues plain text";
    }
    throw Error(std::move(info));
  }
}

}  // namespace rondo::cli
