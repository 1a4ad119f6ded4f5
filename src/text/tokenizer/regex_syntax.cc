#include "text/tokenizer/regex_syntax.h"

#include <array>
#include <cstdio>
#include <string_view>

#include "rondo/error.h"
#include "text/unicode/unicode_tables.h"

namespace rondo {
namespace {

// White_Space of the Unicode standard; PCRE2's \s has U+180E besides.
constexpr std::string_view kWhiteSpace =
    R"(\t-\r \x{85}\x{A0}\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}\x{3000})";

constexpr std::array<std::string_view, 37> kCategoryNames = {
    "L",  "Lu", "Ll", "Lt", "Lm", "Lo", "M",  "Mn", "Mc", "Me", "N",  "Nd", "Nl",
    "No", "P",  "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "S",  "Sm", "Sc", "Sk",
    "So", "Z",  "Zs", "Zl", "Zp", "C",  "Cc", "Cf", "Cs", "Co", "Cn"};

// The items of a character class that stand for a general category as of Unicode 16.
std::string CategoryItems(std::string_view name) {
  std::string out = "\\p{" + std::string(name) + "}";
  for (const CategoryRange& range : CategoriesSinceUnicode14()) {
    if (!std::string_view(range.category).starts_with(name)) continue;
    char text[32];
    std::snprintf(text, sizeof(text), "\\x{%X}-\\x{%X}", static_cast<unsigned>(range.first),
                  static_cast<unsigned>(range.last));
    out += text;
  }
  return out;
}

// Oniguruma's word characters: alphabetic ones, marks, digits, connectors, and numbers of Latin-1.
std::string WordItems() {
  std::string out;
  for (const char* name : {"L", "M", "Nd", "Nl", "Pc"}) out += CategoryItems(name);
  return out +
         R"(\x{B2}\x{B3}\x{B9}\x{BC}-\x{BE}\x{24B6}-\x{24E9}\x{1F130}-\x{1F149}\x{1F150}-\x{1F169})"
         R"(\x{1F170}-\x{1F189})";
}

class Translator {
 public:
  Translator(const std::string& pattern, const std::string& file, const std::string& field)
      : pattern_(pattern), file_(file), field_(field) {}

  std::string Run() {
    while (at_ < pattern_.size()) {
      const char c = pattern_[at_];
      if (c == '\\') {
        Escape(false);
      } else if (c == '[') {
        Class();
      } else if (c == '(') {
        Group();
      } else if (c == '{') {
        Interval();
      } else {
        out_ += c;
        ++at_;
      }
    }
    return std::move(out_);
  }

 private:
  [[noreturn]] void Refuse(std::string_view part) const {
    throw Error({.function = "Regex",
                 .problem = "unsupported regular expression syntax '" + std::string(part) +
                            "' in '" + pattern_.substr(0, 200) + "'",
                 .file = file_,
                 .field = field_});
  }

  // "\p{Lu}" and its negations; `at_` is at 'p' or 'P'.
  void Property(bool in_class) {
    bool negated = pattern_[at_] == 'P';
    const size_t close = pattern_.find('}', at_);
    if (at_ + 1 >= pattern_.size() || pattern_[at_ + 1] != '{' || close == std::string::npos) {
      Refuse("\\p");
    }
    std::string_view name = std::string_view(pattern_).substr(at_ + 2, close - at_ - 2);
    if (name.starts_with('^')) {
      negated = !negated;
      name.remove_prefix(1);
    }
    bool known = false;
    for (const std::string_view candidate : kCategoryNames) known |= candidate == name;
    // Newly assigned characters would have to be taken out of these.
    if (!known || name == "C" || name == "Cn" || (negated && in_class)) {
      Refuse("\\p{" + std::string(name) + "}");
    }
    Items(CategoryItems(name), in_class, negated);
    at_ = close + 1;
  }

  void Items(std::string_view items, bool in_class, bool negated) {
    if (in_class) {
      out_ += items;
    } else {
      out_.append(negated ? "[^" : "[").append(items).append("]");
    }
  }

  void Escape(bool in_class) {
    if (at_ + 1 >= pattern_.size()) Refuse("\\");
    const char c = pattern_[++at_];
    switch (c) {
      case 'p':
      case 'P':
        return Property(in_class);
      case 's':
        Items(kWhiteSpace, in_class, false);
        break;
      case 'S':
        if (in_class) Refuse("\\S inside []");
        Items(kWhiteSpace, in_class, true);
        break;
      case 'd':
        Items(CategoryItems("Nd"), in_class, false);
        break;
      case 'D':
        if (in_class) Refuse("\\D inside []");
        Items(CategoryItems("Nd"), in_class, true);
        break;
      case 'w':
        Items(WordItems(), in_class, false);
        break;
      case 'W':
        if (in_class) Refuse("\\W inside []");
        Items(WordItems(), in_class, true);
        break;
      case 'u':
        return CodePoint();
      case 'x':
      case 'r':
      case 'n':
      case 't':
      case 'f':
        out_.append("\\") += c;
        break;
      case 'A':
      case 'z':
        if (in_class) Refuse(std::string("\\") + c);
        out_.append("\\") += c;
        break;
      default: {
        const bool word =
            (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
        if (word) Refuse(std::string("\\") + c);
        out_.append("\\") += c;
      }
    }
    ++at_;
  }

  void CodePoint() {  // \uHHHH
    const std::string digits = pattern_.substr(at_ + 1, 4);
    if (digits.size() != 4 || digits.find_first_not_of("0123456789abcdefABCDEF") != digits.npos) {
      Refuse("\\u");
    }
    out_ += "\\x{" + digits + "}";
    at_ += 5;
  }

  void Class() {
    out_ += pattern_[at_++];
    if (at_ < pattern_.size() && pattern_[at_] == '^') out_ += pattern_[at_++];
    if (at_ < pattern_.size() && pattern_[at_] == ']') Refuse("[]");
    while (at_ < pattern_.size() && pattern_[at_] != ']') {
      const char c = pattern_[at_];
      if (c == '\\') {
        Escape(true);
        continue;
      }
      if (c == '[') Refuse("[ inside []");
      if (c == '&' && pattern_.compare(at_, 2, "&&") == 0) Refuse("&&");
      out_ += c;
      ++at_;
    }
    if (at_ >= pattern_.size()) Refuse("[");
    out_ += pattern_[at_++];
  }

  void Group() {
    constexpr std::string_view kKnown[] = {"(?i:", "(?:", "(?=", "(?!", "(?<=", "(?<!", "(?>"};
    for (const std::string_view known : kKnown) {
      if (pattern_.compare(at_, known.size(), known) != 0) continue;
      out_ += known;
      at_ += known.size();
      return;
    }
    if (pattern_.compare(at_, 2, "(?") == 0 || pattern_.compare(at_, 2, "(*") == 0) {
      Refuse(pattern_.substr(at_, 4));
    }
    out_ += pattern_[at_++];
  }

  // "{1,3}"; Oniguruma reads "{1,3}+" as a repetition, PCRE2 as possessive, and they differ about
  // what else a brace may hold.
  void Interval() {
    const size_t close = pattern_.find('}', at_);
    if (close == std::string::npos) Refuse("{");
    const std::string body = pattern_.substr(at_ + 1, close - at_ - 1);
    if (body.empty() || body.find_first_not_of("0123456789,") != body.npos || body[0] == ',') {
      Refuse("{" + body + "}");
    }
    if (close + 1 < pattern_.size() && pattern_[close + 1] == '+') Refuse("{" + body + "}+");
    out_ += "{" + body + "}";
    at_ = close + 1;
  }

  const std::string& pattern_;
  const std::string& file_;
  const std::string& field_;
  size_t at_ = 0;
  std::string out_;
};

}  // namespace

std::string OnigurumaToPcre2(const std::string& pattern, const std::string& file,
                             const std::string& field) {
  return Translator(pattern, file, field).Run();
}

}  // namespace rondo
