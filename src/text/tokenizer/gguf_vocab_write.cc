#include <algorithm>
#include <utility>
#include <variant>

#include "rondo/error.h"
#include "text/tokenizer/byte_level.h"
#include "text/tokenizer/gguf_pre.h"
#include "text/tokenizer/gguf_vocab.h"
#include "text/tokenizer/load_spec.h"
#include "text/tokenizer/merges.h"
#include "text/unicode/utf8.h"

namespace rondo {
namespace {

class VocabWriter {
 public:
  VocabWriter(const TokenizerSpec& spec, GgufWriter& writer, size_t vocab_size)
      : spec_(spec), writer_(writer), tokens_(spec.model.tokens), types_(spec.model.types) {
    types_.resize(tokens_.size(), TokenType::kNormal);
    size_t count = std::max(tokens_.size(), vocab_size);
    for (const AddedToken& token : spec.added) {
      count = std::max(count, static_cast<size_t>(token.id) + 1);
    }
    tokens_.resize(count);
    types_.resize(count, TokenType::kUnused);
    for (const AddedToken& token : spec.added) {
      const auto id = static_cast<size_t>(token.id);
      tokens_[id] = token.content;
      const bool unknown = token.id == spec.model.unknown;
      types_[id] = unknown         ? TokenType::kUnknown
                   : token.special ? TokenType::kControl
                                   : TokenType::kUserDefined;
    }
    for (size_t i = 0; i < count; ++i) {
      if (!tokens_[i].empty()) continue;
      tokens_[i] = "[PAD" + std::to_string(i) + "]";
      types_[i] = TokenType::kUnused;
    }
  }

  void Run() {
    if (spec_.model.kind == ModelKind::kUnigram) Fail("a Unigram model");
    if (spec_.model.kind == ModelKind::kWordPiece) Fail("a WordPiece model");
    if (!spec_.model.subword_prefix.empty() || !spec_.model.word_suffix.empty()) {
      Fail("continuing_subword_prefix or end_of_word_suffix");
    }
    const bool byte_level = spec_.ByteLevel();
    Set("model", std::string(byte_level ? "gpt2" : "llama"));
    Set("pre", byte_level ? GgufPreName(spec_) : std::string("default"));
    if (byte_level) {
      WriteMerges();
    } else {
      WriteScores();
    }
    std::vector<int32_t> types;
    for (const TokenType type : types_) types.push_back(static_cast<int32_t>(type));
    writer_.SetStrings("tokenizer.ggml.tokens", std::move(tokens_));
    writer_.SetI32s("tokenizer.ggml.token_type", std::move(types));
    WriteIds();
  }

 private:
  [[noreturn]] void Fail(const std::string& problem) const {
    throw Error({.function = "SetGgufTokenizer",
                 .problem = "a GGUF vocabulary cannot express " + problem,
                 .file = spec_.file,
                 .field = {}});
  }

  void Set(const std::string& key, std::string value) {
    writer_.SetString("tokenizer.ggml." + key, std::move(value));
  }

  void WriteMerges() {
    std::vector<std::string> lines;
    for (const Merge& merge : spec_.model.merges) {
      lines.push_back(spec_.model.tokens[static_cast<size_t>(merge.left)] + ' ' +
                      spec_.model.tokens[static_cast<size_t>(merge.right)]);
    }
    writer_.SetStrings("tokenizer.ggml.merges", std::move(lines));
  }

  // Text reaches a scored vocabulary with its spaces replaced, perhaps after one more in front.
  void WriteScores() {
    bool prefix = false;
    bool replaced = false;
    for (const NormalizerStep& step : spec_.normalizers) {
      if (step == NormalizerStep(PrependText{kMetaspace})) {
        prefix = true;
      } else if (step == NormalizerStep(ReplaceText{{" ", false}, kMetaspace})) {
        replaced = true;
      } else {
        Fail("this normalizer");
      }
    }
    for (const PreTokenizerStep& step : spec_.pre_tokenizers) {
      if (const auto* metaspace = std::get_if<MetaspaceWords>(&step)) {
        replaced = true;
        prefix |= metaspace->prepend != MetaspaceWords::kNever;
      } else if (step != PreTokenizerStep(
                             SplitAt{{" ", false}, SplitBehavior::kMergedWithPrevious, false})) {
        Fail("this pre-tokenizer");
      }
    }
    if (!replaced) Fail("text whose spaces stay spaces");
    std::vector<float> scores =
        spec_.model.UsesScores() ? spec_.model.scores : ScoresFromMerges(spec_.model);
    if (!spec_.model.UsesScores()) HideUnreachable();
    scores.resize(tokens_.size(), 0.0f);
    for (size_t i = 0; i < tokens_.size(); ++i) {
      if (types_[i] == TokenType::kUserDefined)
        tokens_[i] = ReplaceAll(tokens_[i], kMetaspace, " ");
      const bool byte = types_[i] == TokenType::kNormal && IsByteToken(i);
      if (byte) types_[i] = TokenType::kByte;
    }
    writer_.SetF32s("tokenizer.ggml.scores", std::move(scores));
    writer_.SetBool("tokenizer.ggml.add_space_prefix", prefix);
  }

  // Scores merge neighbours into any normal token; those that no merge makes must not be.
  void HideUnreachable() {
    std::vector<bool> reached(tokens_.size());
    for (const Merge& merge : spec_.model.merges) reached[static_cast<size_t>(merge.result)] = true;
    for (size_t i = 0; i < tokens_.size(); ++i) {
      const bool one_character =
          static_cast<size_t>(Utf8Length(tokens_[i][0])) == tokens_[i].size();
      if (types_[i] == TokenType::kNormal && !reached[i] && !one_character && !IsByteToken(i)) {
        types_[i] = TokenType::kUnused;
      }
    }
  }

  bool IsByteToken(size_t id) const {
    return spec_.model.byte_fallback && ParseByteToken(tokens_[id]).has_value();
  }

  void WriteId(const char* key, int32_t id) {
    if (id >= 0) writer_.SetU32(std::string("tokenizer.ggml.") + key, static_cast<uint32_t>(id));
  }

  void WriteIds() {
    WriteId("bos_token_id", spec_.bos);
    if (!spec_.eos.empty()) WriteId("eos_token_id", spec_.eos[0]);
    if (spec_.eos.size() > 1) WriteId("eot_token_id", spec_.eos[1]);
    WriteId("unknown_token_id", spec_.unknown);
    WriteId("padding_token_id", spec_.pad);
    const bool bos = spec_.prefix.size() == 1 && spec_.prefix[0] == spec_.bos;
    const bool eos =
        spec_.suffix.size() == 1 && !spec_.eos.empty() && spec_.suffix[0] == spec_.eos[0];
    if (bos != !spec_.prefix.empty() || eos != !spec_.suffix.empty()) {
      Fail("this frame of special tokens");
    }
    writer_.SetBool("tokenizer.ggml.add_bos_token", bos);
    writer_.SetBool("tokenizer.ggml.add_eos_token", eos);
    if (!spec_.chat_template.empty()) {
      writer_.SetString("tokenizer.chat_template", spec_.chat_template);
    }
  }

  const TokenizerSpec& spec_;
  GgufWriter& writer_;
  std::vector<std::string> tokens_;
  std::vector<TokenType> types_;
};

}  // namespace

void SetGgufTokenizer(const std::string& model_path, GgufWriter& writer, int32_t vocab_size) {
  const std::string file = FindTokenizerFile(model_path);
  if (file.empty()) {
    NoteMissingTokenizer(model_path);
    return;
  }
  const TokenizerSpec spec = LoadTokenizerSpec(file);
  CheckSpec(spec);
  VocabWriter(spec, writer, static_cast<size_t>(std::max(vocab_size, 0))).Run();
}

}  // namespace rondo
