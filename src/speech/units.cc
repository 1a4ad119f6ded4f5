#include <utf8proc.h>

#include <algorithm>
#include <map>
#include <set>

#include "base/strings.h"
#include "rondo/error.h"
#include "rondo/speech_units.h"
#include "rondo/tokenizer.h"
#include "text/unicode/utf8.h"

namespace rondo {
namespace {

// Calls f(code point, its bytes) for every character; ill-formed bytes are passed over.
template <typename F>
void ForCharacters(std::string_view text, const F& f) {
  for (size_t at = 0; at < text.size();) {
    const Utf8Step step = NextUtf8(text, at);
    const auto length = static_cast<size_t>(step.length);
    if (step.valid) f(static_cast<utf8proc_int32_t>(step.code), text.substr(at, length));
    at += length;
  }
}

bool IsMarkOrSymbol(utf8proc_int32_t code) {
  const utf8proc_category_t category = utf8proc_category(code);
  return (category >= UTF8PROC_CATEGORY_PC && category <= UTF8PROC_CATEGORY_SO) ||
         category == UTF8PROC_CATEGORY_CC;
}

class Normalizer {
 public:
  explicit Normalizer(bool lower) : lower_(lower) {}
  std::string operator()(std::string_view text) const {
    return lower_ ? PlainText(text) : SingleSpaces(text);
  }

 private:
  bool lower_;
};

class CharacterUnits : public SpeechUnits {
 public:
  explicit CharacterUnits(const UnitConfig& config) : list_(config.list), normalize_(config.lower) {
    for (size_t i = 0; i < list_.size(); ++i) {
      ids_[list_[i]] = kFirstTextUnit + static_cast<int32_t>(i);
    }
  }

  std::vector<int32_t> Encode(std::string_view text) const override {
    std::vector<int32_t> ids;
    ForCharacters(normalize_(text), [&](utf8proc_int32_t, std::string_view character) {
      const auto found = ids_.find(character);
      ids.push_back(found == ids_.end() ? kUnknownUnit : found->second);
    });
    return ids;
  }

  std::string Decode(std::span<const int32_t> ids) const override {
    std::string text;
    for (const int32_t id : ids) {
      const int64_t at = int64_t{id} - kFirstTextUnit;
      if (at >= 0 && at < static_cast<int64_t>(list_.size()))
        text += list_[static_cast<size_t>(at)];
    }
    return SingleSpaces(text);
  }

  std::string Normalize(std::string_view text) const override { return normalize_(text); }

 private:
  std::vector<std::string> list_;
  std::map<std::string, int32_t, std::less<>> ids_;
  Normalizer normalize_;
};

class TokenizerUnits : public SpeechUnits {
 public:
  TokenizerUnits(const UnitConfig& config, const std::string& directory)
      : offset_(config.kind == UnitKind::kSentencePiece ? kFirstTextUnit : 0),
        tokenizer_(LoadTokenizer(directory)),
        normalize_(config.lower) {
    const int have = tokenizer_->vocab_size() + offset_;
    if (have <= config.count && (offset_ == 0 || have == config.count)) return;
    throw Error({.function = "MakeSpeechUnits",
                 .problem = "a tokenizer of " + std::to_string(have - offset_) + " tokens",
                 .expected = std::to_string(config.count - offset_),
                 .file = directory,
                 .field = "speech.units.count"});
  }

  std::vector<int32_t> Encode(std::string_view text) const override {
    std::vector<int32_t> ids =
        tokenizer_->Encode(normalize_(text), {.add_special = false, .parse_special = false});
    for (int32_t& id : ids) id += offset_;
    return ids;
  }

  std::string Decode(std::span<const int32_t> ids) const override {
    std::vector<int32_t> text;
    for (const int32_t id : ids) {
      if (id >= offset_) text.push_back(id - offset_);
    }
    return SingleSpaces(tokenizer_->Decode(text));
  }

  std::string Normalize(std::string_view text) const override { return normalize_(text); }

 private:
  int32_t offset_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  Normalizer normalize_;
};

}  // namespace

std::string SingleSpaces(std::string_view text) {
  std::string out;
  bool space = false;
  ForCharacters(text, [&](utf8proc_int32_t code, std::string_view bytes) {
    const bool blank = code == '\t' || code == '\n' || code == '\r' ||
                       utf8proc_category(code) == UTF8PROC_CATEGORY_ZS;
    if (!blank) {
      if (space && !out.empty()) out += ' ';
      out += bytes;
    }
    space = blank;
  });
  return out;
}

std::string PlainText(std::string_view text) {
  std::string out;
  bool in_word = false;
  ForCharacters(SingleSpaces(text), [&](utf8proc_int32_t code, std::string_view) {
    const bool apostrophe = code == '\'' || code == 0x2019;
    if (apostrophe && in_word) {
      out += '\'';
    } else if (IsMarkOrSymbol(code)) {
      out += ' ';
      in_word = false;
    } else {
      AppendUtf8(static_cast<char32_t>(utf8proc_tolower(code)), out);
      in_word = code != ' ';
    }
  });
  // Apostrophes that no letter follows.
  std::string clean;
  for (const std::string& word : Split(SingleSpaces(out), ' ')) {
    std::string_view rest = word;
    while (rest.ends_with('\'')) rest.remove_suffix(1);
    if (rest.empty()) continue;
    if (!clean.empty()) clean += ' ';
    clean += rest;
  }
  return clean;
}

std::vector<std::string> CharactersOf(std::span<const std::string> texts) {
  std::set<std::string> found;
  for (const std::string& text : texts) {
    ForCharacters(text, [&](utf8proc_int32_t, std::string_view c) { found.emplace(c); });
  }
  return {found.begin(), found.end()};
}

std::shared_ptr<const SpeechUnits> MakeSpeechUnits(const UnitConfig& config,
                                                   const std::string& directory) {
  if (config.kind == UnitKind::kCharacters) return std::make_shared<CharacterUnits>(config);
  return std::make_shared<TokenizerUnits>(config, directory);
}

}  // namespace rondo
