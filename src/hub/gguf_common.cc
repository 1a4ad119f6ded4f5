#include "hub/gguf_common.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "hub/gguf_native.h"
#include "rondo/error.h"
#include "text/tokenizer/gguf_vocab.h"

namespace rondo {
namespace {

void SetTokenizer(const Model& model, GgufWriter* writer) {
  if (model.path.empty()) return;  // made in memory
  SetGgufTokenizer(model.path, *writer, model.config.vocab);
  const auto* tokens = writer->Find<std::vector<std::string>>("tokenizer.ggml.tokens");
  if (tokens == nullptr || tokens->size() == static_cast<size_t>(model.config.vocab)) return;
  throw Error(
      {.function = "SetGgufGeneral",
       .problem = std::to_string(tokens->size()) + " tokens in the tokenizer",
       .expected = "at most the " + std::to_string(model.config.vocab) + " rows of the embedding",
       .file = {},
       .field = "vocab"});
}

// The model's own ids; the tokenizer may know fewer ends, or none.
void SetSpecialTokens(const ModelConfig& config, GgufWriter* writer) {
  const auto set = [&](const char* key, int token) {
    writer->SetU32(key, static_cast<uint32_t>(token));
  };
  if (config.bos_token >= 0) set("tokenizer.ggml.bos_token_id", config.bos_token);
  constexpr const char* kEnds[] = {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                                   "tokenizer.ggml.eom_token_id"};
  const size_t count = std::min(config.eos_tokens.size(), std::size(kEnds));
  for (size_t i = 0; i < count; ++i) set(kEnds[i], config.eos_tokens[i]);
}

// llama.cpp's number of "mostly" a type.
constexpr uint32_t kGuessed = 1024;  // of files that do not say
uint32_t FileTypeNumber(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return 0;
    case DType::kF16:
      return 1;
    case DType::kBF16:
      return 32;
    case DType::kQ4_0:
      return 2;
    case DType::kQ4_1:
      return 3;
    case DType::kQ8_0:
      return 7;
    case DType::kQ5_0:
      return 8;
    case DType::kQ5_1:
      return 9;
    case DType::kQ4_K:
      return 14;
    case DType::kQ5_K:
      return 16;
    case DType::kQ6_K:
      return 18;
    default:  // types that llama.cpp has no number for
      return kGuessed;
  }
}

// The type of most elements of the layers.
DType MostlyOf(const Model& model, const TensorTypes& types) {
  std::map<DType, int64_t> elements;
  for (const TensorSpec& spec : ExpectedTensors(model.config, model.plan)) {
    if (spec.name.starts_with("blocks.")) {
      elements[types.at(spec.name)] += ElementCount(spec.shape);
    }
  }
  return std::max_element(elements.begin(), elements.end(),
                          [](const auto& a, const auto& b) { return a.second < b.second; })
      ->first;
}

// By which a file of rondo's is known, whatever its architecture.
constexpr const char* kWrittenKey = "rondo.written";

bool WrittenByRondo(const std::string& file) {
  try {
    const GgufFile gguf = GgufFile::Open(file);
    return gguf.Has(kWrittenKey) || gguf.String("general.architecture", "") == kNativeGgufArch;
  } catch (const Error&) {
    return false;  // no GGUF file, or none that can be read
  }
}

}  // namespace

void CheckGgufTarget(const std::string& file, const OutputRules& rules) {
  CheckOutputFile(file, rules);
  if (rules.force || !PathExists(file) || WrittenByRondo(file)) return;
  throw Error({.function = "CheckGgufTarget",
               .problem = "exists, and rondo did not write it",
               .expected = "a new name, or --force to replace it",
               .file = file,
               .field = {}});
}

void SetGgufGeneral(const Model& model, const std::string& architecture, const TensorTypes& types,
                    GgufWriter* writer) {
  writer->SetString("general.architecture", architecture);
  writer->SetString("general.type", "model");
  writer->SetU32(kWrittenKey, 1);
  const std::string name = std::filesystem::path(model.path).stem().string();
  if (!name.empty()) writer->SetString("general.name", name);
  const DType mostly = MostlyOf(model, types);
  writer->SetU32("general.file_type", FileTypeNumber(mostly));
  constexpr uint32_t kBlockLayouts = 2;  // of ggml's present block types
  if (IsQuantized(mostly)) writer->SetU32("general.quantization_version", kBlockLayouts);
  SetTokenizer(model, writer);
  SetSpecialTokens(model.config, writer);
}

}  // namespace rondo
