#include "text/tokenizer/gguf_pre.h"

#include <algorithm>

#include "rondo/error.h"

namespace rondo {
namespace {

// The patterns of Llama 3 and of Qwen 2, which differ in how many digits a word takes.
constexpr char kLlama3Pattern[] =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr char kQwen2Pattern[] =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

// Mistral Nemo's (Tekken) and GPT-4o's, which know words by their capitals.
constexpr char kTekkenPattern[] =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|)"
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|)"
    R"(\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr char kGpt4oPattern[] =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
    R"(\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

std::vector<PreTokenizerStep> SplitThenBytes(const char* pattern) {
  return {SplitAt{{pattern, true}, SplitBehavior::kIsolated, false}, ByteLevelWords{false, false}};
}

std::vector<GgufPre> MakePres() {
  const auto llama3 = SplitThenBytes(kLlama3Pattern);
  const auto qwen2 = SplitThenBytes(kQwen2Pattern);
  const auto gpt2 = std::vector<PreTokenizerStep>{ByteLevelWords{}};
  return {
      {{"gpt-2", "phi-2", "jina-es", "jina-de", "gigachat", "mellum"},
       {},
       gpt2,
       false,
       false,
       {},
       {"gpt2"}},
      {{"olmo"}, {UnicodeForm{}}, gpt2, false, false, {"<|padding|>"}, {"gptneox"}},
      {{"smollm", "starcoder", "refact"},
       {},
       {SplitDigits{true}, ByteLevelWords{}},
       false,
       false,
       {"<gh_stars>"}},
      {{"gpt-4o", "llama4"},
       {},
       SplitThenBytes(kGpt4oPattern),
       false,
       false,
       {"<|begin_of_text|>", "<|header_start|>"}},
      {{"llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2"},
       {},
       llama3,
       true,
       true,
       {"<|begin_of_text|>", "<|end_of_text|>"}},
      {{"smaug-bpe", "dbrx"}, {}, llama3},
      {{"qwen2", "deepseek-r1-qwen", "megrez", "kormo"},
       {UnicodeForm{}},
       qwen2,
       false,
       false,
       {"<|im_start|>", "<|endoftext|>"},
       {"qwen2", "qwen3", "qwen2moe", "qwen3moe"}},
      {{"stablelm2", "hunyuan"}, {}, qwen2},
      {{"tekken"}, {}, SplitThenBytes(kTekkenPattern), true, true, {"[INST]", "[AVAILABLE_TOOLS]"}},
  };
}

}  // namespace

std::span<const GgufPre> GgufPres() {
  static const std::vector<GgufPre> presets = MakePres();
  return presets;
}

const GgufPre* FindGgufPre(std::string_view name) {
  for (const GgufPre& preset : GgufPres()) {
    if (std::ranges::find(preset.names, name) != preset.names.end()) return &preset;
  }
  return nullptr;
}

std::string KnownGgufPres() {
  std::string known;
  for (const GgufPre& preset : GgufPres()) {
    for (const std::string_view name : preset.names) {
      known.append(known.empty() ? "" : ", ").append(name);
    }
  }
  return known;
}

void ApplyGgufPre(const GgufPre& pre, TokenizerSpec& spec) {
  spec.normalizers = pre.normalizers;
  spec.pre_tokenizers = pre.pre_tokenizers;
  spec.model.ignore_merges = pre.ignore_merges;
}

std::string GgufPreName(const TokenizerSpec& spec) {
  for (const GgufPre& preset : GgufPres()) {
    if (preset.normalizers == spec.normalizers && preset.pre_tokenizers == spec.pre_tokenizers &&
        preset.ignore_merges == spec.model.ignore_merges) {
      return std::string(preset.names[0]);
    }
  }
  throw Error({.function = "SetGgufTokenizer",
               .problem = "GGUF has no name for this combination of normalizer, pre-tokenizer and "
                          "ignore_merges",
               .expected = "that of one of " + KnownGgufPres(),
               .file = spec.file,
               .field = "pre_tokenizer"});
}

}  // namespace rondo
