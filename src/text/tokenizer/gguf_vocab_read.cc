#include <algorithm>
#include <array>
#include <limits>
#include <string_view>
#include <utility>

#include "rondo/error.h"
#include "text/tokenizer/byte_level.h"
#include "text/tokenizer/gguf_pre.h"
#include "text/tokenizer/gguf_vocab.h"
#include "text/tokenizer/merges.h"
#include "text/tokenizer/sentencepiece.h"
#include "text/unicode/utf8.h"

namespace rondo {
namespace {

// Control tokens that end a turn; many files name only one of several in eos_token_id.
constexpr std::array<std::string_view, 7> kEndOfTurnNames = {
    "<|eot_id|>", "<|im_end|>",    "<|end|>",        "<end_of_turn>",
    "<|eom_id|>", "<|endoftext|>", "<|end_of_text|>"};

class VocabReader {
 public:
  explicit VocabReader(const GgufFile& file) : file_(file) { spec_.file = file.path(); }

  TokenizerSpec Read() {
    const std::string kind = file_.String("tokenizer.ggml.model");
    if (file_.Has("tokenizer.ggml.precompiled_charsmap")) {
      Fail("precompiled_charsmap", "a character map is not supported");
    }
    const auto& tokens = file_.Strings("tokenizer.ggml.tokens");
    spec_.model.tokens.assign(tokens.begin(), tokens.end());
    ReadTypes();
    const bool scored = kind == "llama";
    spec_.bos = SpecialId("bos_token_id", scored ? 1 : -1);
    spec_.unknown = SpecialId("unknown_token_id", scored ? 0 : -1);
    spec_.pad = SpecialId("padding_token_id", -1);
    ReadEos(scored ? 2 : -1);
    if (!file_.Has("tokenizer.ggml.token_type")) InferTypes(scored);
    if (kind == "gpt2") {
      ReadByteLevel();
    } else if (scored) {
      ReadScored();
    } else {
      Fail("model", "vocabulary '" + kind + "' is not supported", "gpt2 or llama");
    }
    spec_.chat_template = file_.String("tokenizer.chat_template", "");
    if (file_.Has("tokenizer.chat_templates")) {
      const auto& names = file_.Strings("tokenizer.chat_templates");
      spec_.other_templates.assign(names.begin(), names.end());
    }
    return std::move(spec_);
  }

 private:
  [[noreturn]] void Fail(const std::string& key, const std::string& problem,
                         const std::string& expected = {}) const {
    throw Error({.function = "ReadGgufVocab",
                 .problem = problem,
                 .expected = expected,
                 .file = file_.path(),
                 .field = "tokenizer.ggml." + key});
  }

  void ReadTypes() {
    const size_t count = spec_.model.tokens.size();
    spec_.model.types.assign(count, TokenType::kNormal);
    if (!file_.Has("tokenizer.ggml.token_type")) return;
    const std::vector<int64_t>& types = file_.Ints("tokenizer.ggml.token_type");
    if (types.size() != count) Fail("token_type", std::to_string(types.size()) + " types");
    for (size_t i = 0; i < count; ++i) {
      if (types[i] < 1 || types[i] > 6) Fail("token_type", "type " + std::to_string(types[i]));
      spec_.model.types[i] = static_cast<TokenType>(types[i]);
    }
  }

  // Oldest files say nothing about types: named tokens are no text, and "<0x0A>" is a byte.
  void InferTypes(bool scored) {
    std::vector<TokenType>& types = spec_.model.types;
    for (size_t i = 0; scored && i < types.size(); ++i) {
      if (ParseByteToken(spec_.model.tokens[i])) types[i] = TokenType::kByte;
    }
    const auto set = [&types](int32_t id, TokenType type) {
      if (id >= 0) types[static_cast<size_t>(id)] = type;
    };
    set(spec_.bos, TokenType::kControl);
    set(spec_.pad, TokenType::kControl);
    for (const int32_t id : spec_.eos) set(id, TokenType::kControl);
    set(spec_.unknown, TokenType::kUnknown);
  }

  int32_t SpecialId(const std::string& key, int32_t fallback) const {
    const int64_t id = file_.Int("tokenizer.ggml." + key, fallback);
    const auto count = static_cast<int64_t>(spec_.model.tokens.size());
    if (!file_.Has("tokenizer.ggml." + key)) return id < count ? static_cast<int32_t>(id) : -1;
    constexpr int64_t kNone = std::numeric_limits<uint32_t>::max();  // converters write -1 so
    if (id == -1 || id == kNone) return -1;
    if (id < 0 || id >= count) Fail(key, "id " + std::to_string(id) + " is not in the vocabulary");
    return static_cast<int32_t>(id);
  }

  void ReadEos(int32_t fallback) {
    const auto add = [this](int32_t id) {
      if (id >= 0 && std::find(spec_.eos.begin(), spec_.eos.end(), id) == spec_.eos.end()) {
        spec_.eos.push_back(id);
      }
    };
    add(SpecialId("eos_token_id", fallback));
    add(SpecialId("eot_token_id", -1));
    add(SpecialId("eom_token_id", -1));
    for (size_t i = 0; i < spec_.model.tokens.size(); ++i) {
      if (spec_.model.types[i] != TokenType::kControl) continue;
      const auto& names = kEndOfTurnNames;
      if (std::find(names.begin(), names.end(), spec_.model.tokens[i]) != names.end()) {
        add(static_cast<int32_t>(i));
      }
    }
  }

  bool Flag(const std::string& key, bool fallback) const {
    return file_.Bool("tokenizer.ggml." + key, fallback);
  }

  void ReadByteLevel() {
    MergeReader merges(spec_.model.tokens, file_.path());
    for (const std::string_view line : file_.Strings("tokenizer.ggml.merges")) {
      spec_.model.merges.push_back(merges.ResolveLine(line));
    }
    const GgufPre& pre = ChooseGgufPre(file_.String("tokenizer.ggml.pre", ""),
                                       file_.String("general.architecture", ""), spec_);
    ApplyGgufPre(pre, spec_);
    spec_.decoders = {DecodeByteLevel{}};
    for (size_t i = 0; i < spec_.model.tokens.size(); ++i) {
      const TokenType type = spec_.model.types[i];
      const bool special = type == TokenType::kControl || type == TokenType::kUnknown;
      if (!special && type != TokenType::kUserDefined) continue;
      AddedToken token{.content = spec_.model.tokens[i], .id = static_cast<int32_t>(i)};
      token.special = special;
      spec_.added.push_back(std::move(token));
    }
    if (Flag("add_bos_token", pre.add_bos) && spec_.bos >= 0) spec_.prefix = {spec_.bos};
    if (Flag("add_eos_token", false) && !spec_.eos.empty()) spec_.suffix = {spec_.eos[0]};
  }

  void ReadScored() {
    TokenModel& model = spec_.model;
    for (const double score : file_.Floats("tokenizer.ggml.scores")) {
      model.scores.push_back(static_cast<float>(score));
    }
    // Converters write user-defined pieces with plain spaces; text has metaspaces when they are
    // met.
    for (size_t i = 0; i < model.tokens.size(); ++i) {
      if (model.types[i] == TokenType::kUserDefined) {
        model.tokens[i] = ReplaceAll(model.tokens[i], " ", kMetaspace);
      }
    }
    model.unknown = spec_.unknown;
    model.byte_fallback =
        std::find(model.types.begin(), model.types.end(), TokenType::kByte) != model.types.end();
    FinishSentencePiece({.add_dummy_prefix = Flag("add_space_prefix", true),
                         .remove_extra_whitespaces = Flag("remove_extra_whitespaces", false),
                         .add_bos = Flag("add_bos_token", true),
                         .add_eos = Flag("add_eos_token", false)},
                        spec_);
  }

  const GgufFile& file_;
  TokenizerSpec spec_;
};

}  // namespace

TokenizerSpec ReadGgufVocab(const GgufFile& file) { return VocabReader(file).Read(); }

}  // namespace rondo
