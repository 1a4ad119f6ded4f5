#include "text/tokenizer/gguf_pre.h"

#include <string_view>
#include <utility>
#include <vector>

#include "rondo/error.h"

namespace rondo {
namespace {

// The patterns of Llama 3 and of Qwen 2, which differ in how many digits a word takes.
constexpr char kLlama3Pattern[] =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr char kQwen2Pattern[] =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

struct Preset {
  std::vector<std::string_view> names;  // the first one is written
  std::vector<NormalizerStep> normalizers;
  std::vector<PreTokenizerStep> pre_tokenizers;
  bool ignore_merges = false;
  bool add_bos = false;
};

std::vector<PreTokenizerStep> SplitThenBytes(const char* pattern) {
  return {SplitAt{{pattern, true}, SplitBehavior::kIsolated, false}, ByteLevelWords{false, false}};
}

// "default" is what converters wrote before the key had its present meaning; those vocabularies are
// GPT-2's and GPT-NeoX's.
const std::vector<Preset>& Presets() {
  static const std::vector<Preset> presets = {
      {{"gpt-2", "default", "phi-2"}, {}, {ByteLevelWords{}}},
      {{"olmo"}, {UnicodeForm{}}, {ByteLevelWords{}}},
      {{"smollm", "starcoder", "refact"}, {}, {SplitDigits{true}, ByteLevelWords{}}},
      {{"llama-bpe", "llama3", "llama-v3"}, {}, SplitThenBytes(kLlama3Pattern), true, true},
      {{"qwen2", "deepseek-r1-qwen"}, {UnicodeForm{}}, SplitThenBytes(kQwen2Pattern)},
  };
  return presets;
}

const Preset& FindPreset(const std::string& pre, const std::string& file) {
  std::string known;
  for (const Preset& preset : Presets()) {
    for (const std::string_view name : preset.names) {
      if (name == pre) return preset;
      known.append(known.empty() ? "" : ", ").append(name);
    }
  }
  throw Error({.function = "LoadTokenizer",
               .problem = "pre-tokenizer '" + pre + "' is not supported",
               .expected = known,
               .file = file,
               .field = "tokenizer.ggml.pre"});
}

}  // namespace

void ApplyGgufPre(const std::string& pre, TokenizerSpec& spec) {
  const Preset& preset = FindPreset(pre, spec.file);
  spec.normalizers = preset.normalizers;
  spec.pre_tokenizers = preset.pre_tokenizers;
  spec.model.ignore_merges = preset.ignore_merges;
}

bool GgufPreAddsBos(const std::string& pre) { return FindPreset(pre, {}).add_bos; }

std::string GgufPreName(const TokenizerSpec& spec) {
  for (const Preset& preset : Presets()) {
    if (preset.normalizers == spec.normalizers && preset.pre_tokenizers == spec.pre_tokenizers &&
        preset.ignore_merges == spec.model.ignore_merges) {
      return std::string(preset.names[0]);
    }
  }
  throw Error({.function = "SetGgufTokenizer",
               .problem = "GGUF has no name for this combination of normalizer, pre-tokenizer and "
                          "ignore_merges",
               .expected = "that of GPT-2, GPT-NeoX, SmolLM, Llama 3 or Qwen 2",
               .file = spec.file,
               .field = "pre_tokenizer"});
}

}  // namespace rondo
