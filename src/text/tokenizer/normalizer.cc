#include "text/tokenizer/normalizer.h"

#include <utf8proc.h>

#include <cstdlib>
#include <memory>
#include <type_traits>
#include <utility>

#include "rondo/error.h"
#include "text/unicode/characters.h"
#include "text/unicode/tokenizers_tables.h"
#include "text/unicode/unicode_tables.h"
#include "text/unicode/utf8.h"

namespace rondo {
namespace {

utf8proc_option_t FormOptions(UnicodeForm::Form form) {
  int options = UTF8PROC_STABLE;
  const bool compose = form == UnicodeForm::kNfc || form == UnicodeForm::kNfkc;
  options |= compose ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE;
  if (form == UnicodeForm::kNfkc || form == UnicodeForm::kNfkd) options |= UTF8PROC_COMPAT;
  return static_cast<utf8proc_option_t>(options);
}

void AppendNormalized(std::string_view text, utf8proc_option_t options, std::string& out) {
  if (text.empty()) return;
  utf8proc_uint8_t* result = nullptr;
  const utf8proc_ssize_t length =
      utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                   static_cast<utf8proc_ssize_t>(text.size()), &result, options);
  if (length < 0) {
    throw Error({.function = "NormalizeUnicode", .problem = utf8proc_errmsg(length)});
  }
  const std::unique_ptr<utf8proc_uint8_t, void (*)(void*)> owner(result, std::free);
  out.append(reinterpret_cast<const char*>(result), static_cast<size_t>(length));
}

std::string Strip(std::string_view text, const StripSpace& step) {
  size_t begin = 0;
  size_t end = text.size();
  if (step.left) begin = SpaceRunEnd(text, 0);
  if (step.right) end = SpaceRunBegin(text, end);
  return begin < end ? std::string(text.substr(begin, end - begin)) : std::string();
}

// The text with append(code, out) for every character.
template <typename Append>
std::string MapCharacters(std::string_view text, const Append& append) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    const Utf8Step step = NextUtf8(text, i);
    append(step.code, out);
    i += static_cast<size_t>(step.length);
  }
  return out;
}

std::string Without(std::string_view text, std::span<const CodeRange> removed,
                    std::span<const CodeRange> to_space = {}) {
  return MapCharacters(text, [&](char32_t code, std::string& out) {
    if (Contains(removed, code)) return;
    AppendUtf8(Contains(to_space, code) ? U' ' : code, out);
  });
}

std::string ApplyBert(std::string text, const BertText& step) {
  using Tables = TokenizersTables;
  if (step.clean) text = Without(text, Tables::BertControls(), Tables::BertSpaces());
  if (step.separate_ideographs) {
    text = MapCharacters(text, [](char32_t code, std::string& out) {
      const bool ideograph = Contains(Tables::BertIdeographs(), code);
      if (ideograph) out += ' ';
      AppendUtf8(code, out);
      if (ideograph) out += ' ';
    });
  }
  if (step.strip_accents) {
    text = Without(NormalizeUnicode(text, UnicodeForm::kNfd), Tables::BertAccents());
  }
  return step.lowercase ? MapCharacters(text, AppendLowercase) : text;
}

}  // namespace

// Characters that Unicode 9 does not know neither reorder nor compose there: they are copied, and
// the text between them is normalised piece by piece.
std::string NormalizeUnicode(std::string_view text, UnicodeForm::Form form) {
  constexpr char32_t kFirstComposable = 0x300;  // below, NFC changes nothing
  const utf8proc_option_t options = FormOptions(form);
  std::string out;
  bool plain = form == UnicodeForm::kNfc;
  size_t begin = 0;
  for (size_t i = 0; i < text.size();) {
    if (static_cast<unsigned char>(text[i]) < 0x80) {
      ++i;
      continue;
    }
    const Utf8Step step = NextUtf8(text, i);
    if (step.code >= kFirstComposable) plain = false;
    if (Contains(NormalizedSinceUnicode9(), step.code)) {
      AppendNormalized(text.substr(begin, i - begin), options, out);
      out.append(text.substr(i, step.length));
      begin = i + step.length;
    }
    i += step.length;
  }
  if (plain) return std::string(text);
  AppendNormalized(text.substr(begin), options, out);
  return out;
}

Replacer::Replacer(const ReplaceText& step, const std::string& file, const std::string& field)
    : step_(step) {
  if (step.pattern.is_regex) regex_.emplace(step.pattern.text, file, field);
}

std::string Replacer::Apply(std::string_view text) const {
  if (!regex_) {
    return step_.pattern.text.empty() ? std::string(text)
                                      : ReplaceAll(text, step_.pattern.text, step_.content);
  }
  Regex::Matcher matcher(*regex_);
  std::string out;
  size_t copied = 0;
  size_t begin = 0;
  size_t end = 0;
  for (size_t start = 0; start <= text.size() && matcher.Search(text, start, begin, end);) {
    out.append(text.substr(copied, begin - copied)).append(step_.content);
    copied = end;
    start = end;
    if (begin == end) start += end < text.size() ? Utf8Length(text[end]) : 1;
  }
  return out.append(text.substr(copied));
}

Normalizer::Normalizer(const std::vector<NormalizerStep>& steps, const std::string& file) {
  for (const NormalizerStep& step : steps) {
    if (const auto* replace = std::get_if<ReplaceText>(&step)) {
      steps_.emplace_back(std::in_place_type<Replacer>, *replace, file, "normalizer");
    } else {
      std::visit(
          [this](const auto& other) {
            using Other = std::decay_t<decltype(other)>;
            if constexpr (!std::is_same_v<Other, ReplaceText>) steps_.emplace_back(other);
          },
          step);
    }
  }
}

std::string Normalizer::Apply(std::string_view text) const {
  std::string out(text);
  for (const Step& step : steps_) {
    if (const auto* form = std::get_if<UnicodeForm>(&step)) {
      out = NormalizeUnicode(out, form->form);
    } else if (const auto* prepend = std::get_if<PrependText>(&step)) {
      if (!out.empty()) out.insert(0, prepend->text);
    } else if (const auto* replacer = std::get_if<Replacer>(&step)) {
      out = replacer->Apply(out);
    } else if (const auto* strip = std::get_if<StripSpace>(&step)) {
      out = Strip(out, *strip);
    } else if (const auto* bert = std::get_if<BertText>(&step)) {
      out = ApplyBert(std::move(out), *bert);
    } else if (std::holds_alternative<LowercaseText>(step)) {
      out = MapCharacters(out, AppendLowercase);
    } else if (std::holds_alternative<StripAccents>(step)) {
      out = Without(out, TokenizersTables::Accents());
    } else {
      out = Without(out, TokenizersTables::NmtControls(), TokenizersTables::NmtSpaces());
    }
  }
  return out;
}

}  // namespace rondo
