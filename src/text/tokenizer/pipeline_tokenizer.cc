#include "text/tokenizer/pipeline_tokenizer.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "base/strings.h"
#include "rondo/error.h"
#include "text/jinja/chat_template.h"
#include "text/tokenizer/added_tokens.h"
#include "text/tokenizer/decoder.h"
#include "text/tokenizer/hash_maps.h"
#include "text/tokenizer/normalizer.h"
#include "text/tokenizer/pre_tokenizer.h"
#include "text/unicode/utf8.h"

namespace rondo {
namespace {

class PipelineTokenizer final : public Tokenizer {
 public:
  explicit PipelineTokenizer(TokenizerSpec spec)
      : spec_(std::move(spec)),
        normalizer_(spec_.normalizers, spec_.file),
        pre_tokenizer_(spec_.pre_tokenizers, spec_.file),
        model_(MakeWordModel(spec_.model, spec_.ByteLevel())),
        added_(spec_.added, normalizer_),
        decoder_(spec_.decoders, spec_.file),
        ids_(spec_.model.tokens.size() + spec_.added.size()) {
    names_.assign(spec_.model.tokens.begin(), spec_.model.tokens.end());
    special_.resize(names_.size());
    for (const AddedToken& token : spec_.added) {
      const auto id = static_cast<size_t>(token.id);
      if (id >= names_.size()) {
        names_.resize(id + 1);
        special_.resize(id + 1);
      }
      names_[id] = token.content;
      special_[id] = token.special;
    }
    for (size_t id = 0; id < names_.size(); ++id) {
      if (!names_[id].empty()) ids_.Insert(names_[id], static_cast<int32_t>(id));
    }
  }

  std::vector<int32_t> Encode(std::string_view text, const EncodeOptions& options) const override {
    if (text.size() > static_cast<size_t>(std::numeric_limits<int32_t>::max())) {
      throw Error({.function = "Encode",
                   .problem = "text of " + std::to_string(text.size()) + " bytes",
                   .expected = "less than 2 GiB"});
    }
    std::string repaired;
    if (!IsValidUtf8(text)) {
      repaired = ReplaceInvalidUtf8(text);
      text = repaired;
    }
    std::vector<int32_t> ids;
    if (options.add_special) ids = spec_.prefix;
    EncodeBody(text, options.parse_special, ids);
    if (options.add_special) ids.insert(ids.end(), spec_.suffix.begin(), spec_.suffix.end());
    return ids;
  }

  std::string Decode(std::span<const int32_t> ids, bool skip_special) const override {
    DecoderChain::Run run(decoder_);
    std::string out;
    for (const int32_t id : ids) PushToken(id, skip_special, run, out);
    run.Flush(out);
    return out;
  }

  std::unique_ptr<TokenStream> StartDecode(bool skip_special,
                                           std::span<const int32_t> before) const override {
    return std::make_unique<Stream>(*this, skip_special, before);
  }

  int32_t vocab_size() const override { return static_cast<int32_t>(names_.size()); }
  int32_t bos() const override { return spec_.bos; }
  std::vector<int32_t> eos() const override { return spec_.eos; }
  int32_t TokenId(std::string_view token) const override { return ids_.Find(token); }
  bool IsSpecial(int32_t id) const override {
    return id >= 0 && id < vocab_size() && special_[static_cast<size_t>(id)];
  }

  std::string ApplyChatTemplate(std::span<const ChatMessage> messages,
                                bool add_generation_prompt) const override {
    if (!HasChatTemplate()) FailWithoutTemplate();
    const auto name = [this](int32_t id) {
      return id < 0 ? std::string() : std::string(names_[static_cast<size_t>(id)]);
    };
    return RenderChatTemplate({.source = spec_.chat_template,
                               .file = spec_.file,
                               .bos_token = name(spec_.bos),
                               .eos_token = name(spec_.eos.empty() ? -1 : spec_.eos[0]),
                               .unk_token = name(spec_.unknown),
                               .pad_token = name(spec_.pad)},
                              messages, add_generation_prompt);
  }
  bool HasChatTemplate() const override { return !spec_.chat_template.empty(); }

 private:
  [[noreturn]] void FailWithoutTemplate() const {
    const bool others = !spec_.other_templates.empty();
    throw Error({.function = "ApplyChatTemplate",
                 .problem = others ? "none of the model's chat templates is the default; it has " +
                                         Join(spec_.other_templates, ", ")
                                   : "the model has no chat template",
                 .expected = others ? "a chat template named default" : "",
                 .file = spec_.file});
  }

  class Stream final : public TokenStream {
   public:
    Stream(const PipelineTokenizer& tokenizer, bool skip_special, std::span<const int32_t> before)
        : tokenizer_(tokenizer), skip_special_(skip_special), run_(tokenizer.decoder_) {
      std::string said;
      for (const int32_t id : before) tokenizer.PushToken(id, skip_special, run_, said);
      run_.Flush(said);  // bytes at its end are its own
    }
    std::string Push(int32_t id) override {
      std::string out;
      tokenizer_.PushToken(id, skip_special_, run_, out);
      return out;
    }
    std::string Flush() override {
      std::string out;
      run_.Flush(out);
      return out;
    }

   private:
    const PipelineTokenizer& tokenizer_;
    bool skip_special_;
    DecoderChain::Run run_;
  };

  void PushToken(int32_t id, bool skip_special, DecoderChain::Run& run, std::string& out) const {
    if (id < 0 || id >= vocab_size() || (skip_special && IsSpecial(id))) return;
    const std::string_view name = names_[static_cast<size_t>(id)];
    if (!name.empty()) run.Push(name, out);
  }

  void EncodeBody(std::string_view text, bool parse_special, std::vector<int32_t>& ids) const {
    const std::unique_ptr<WordEncoder> session = model_->Start(ids, text.size());
    PreTokenizer::Run words(pre_tokenizer_, *session);
    bool is_start = true;
    for (const AddedTokens::Piece& raw : added_.SplitRaw(text, parse_special)) {
      if (raw.id >= 0) {
        ids.push_back(raw.id);
        is_start = false;
        continue;
      }
      std::string owned;
      if (!normalizer_.empty()) owned = normalizer_.Apply(raw.text);
      const std::string_view normalized = normalizer_.empty() ? raw.text : owned;
      for (const auto& piece : added_.SplitNormalized(normalized, parse_special)) {
        if (piece.id >= 0) {
          ids.push_back(piece.id);
        } else {
          words.Words(piece.text, is_start);
        }
        is_start = false;
      }
      is_start = false;
      if (!normalizer_.empty()) session->ForgetWords();
    }
  }

  TokenizerSpec spec_;
  Normalizer normalizer_;
  PreTokenizer pre_tokenizer_;
  std::unique_ptr<const WordModel> model_;
  AddedTokens added_;
  DecoderChain decoder_;
  TextToId ids_;
  std::vector<std::string_view> names_;  // by id; "" is an id without token
  std::vector<bool> special_;
};

}  // namespace

std::shared_ptr<const Tokenizer> MakeTokenizer(TokenizerSpec spec) {
  CheckSpec(spec);
  return std::make_shared<PipelineTokenizer>(std::move(spec));
}

}  // namespace rondo
