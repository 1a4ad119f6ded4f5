#include <string>
#include <string_view>
#include <vector>

#include "base/byte_source.h"
#include "base/machine.h"
#include "cli/output.h"
#include "cli/sampling.h"
#include "cli/session.h"
#include "rondo/error.h"
#include "rondo/generate.h"
#include "text/unicode/text_source.h"

namespace rondo::cli {
namespace {

// The line break that ends what a program prints is none of the text's.
std::string ReadPrompt(const std::string& file) {
  std::string text = ReadText(file);
  if (!IsStandardInput(file)) return text;
  if (text.ends_with('\n')) text.pop_back();
  if (text.ends_with('\r')) text.pop_back();
  return text;
}

std::string PromptText(const GenerateCommandOptions& options, const Tokenizer& tokenizer) {
  const std::string text =
      options.prompt_file.empty() ? options.prompt : ReadPrompt(options.prompt_file);
  CheckUtf8(text, "--prompt");
  if (!options.chat) return text;
  const std::vector<ChatMessage> messages = {{"user", text}};
  return ChatPrompt(tokenizer, messages, options.chat_template);
}

double PerSecond(int64_t count, double seconds) {
  return seconds > 0 ? static_cast<double>(count) / seconds : 0;
}

double MeanLoops(const Generation& result) {
  double sum = 0;
  for (const uint8_t loops : result.loops) sum += loops;
  return result.loops.empty() ? 0 : sum / static_cast<double>(result.loops.size());
}

}  // namespace

int RunGenerate(const GenerateCommandOptions& options, const CommonOptions& common) {
  ThreadPool pool(common.threads);
  const GenerateOptions generate = ToGenerateOptions(options.sample);
  const Model model = LoadAdapted(options.model, common, pool);
  const auto tokenizer = LoadChatTokenizer(model.path, options.chat_template);
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
  // Generate checks its options first: where it throws, nothing was printed.
  bool begun = common.json || options.chat;
  const auto print = [&](std::string_view piece) {
    if (!begun) PrintPiece(text);
    begun = true;
    return PrintPiece(piece);
  };
  const Generation result =
      Generate(engine, *tokenizer, prompt, generate, common.json ? TextCallback() : print);
  if (!common.json) {
    print("\n");
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

}  // namespace rondo::cli
