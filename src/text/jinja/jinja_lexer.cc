#include "text/jinja/jinja_lexer.h"

#include <algorithm>
#include <array>
#include <utility>

#include "text/jinja/jinja_value.h"
#include "text/unicode/utf8.h"

namespace rondo::jinja {
namespace {

bool IsNameStart(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsBlank(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

std::string NormalizeNewlines(std::string_view source) {
  return ReplaceAll(ReplaceAll(source, "\r\n", "\n"), "\r", "\n");
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(NormalizeNewlines(source)) {
    if (source_.ends_with('\n')) source_.pop_back();  // keep_trailing_newline is off
  }

  std::vector<Token> Run() {
    while (at_ < source_.size()) Text();
    Add(Token::Kind::kEnd, "");
    return std::move(tokens_);
  }

 private:
  [[noreturn]] void FailHere(const std::string& problem) const {
    Fail("line " + std::to_string(line_) + ": " + problem);
  }

  bool Starts(std::string_view text) const { return source_.compare(at_, text.size(), text) == 0; }

  void Add(Token::Kind kind, std::string text) {
    tokens_.push_back({kind, std::move(text), line_});
  }

  void Advance(size_t end) {
    line_ += static_cast<int>(std::count(source_.begin() + at_, source_.begin() + end, '\n'));
    at_ = end;
  }

  size_t FindTag() const {
    size_t open = source_.find('{', at_);
    while (open != std::string::npos) {
      const char next = open + 1 < source_.size() ? source_[open + 1] : ' ';
      if (next == '{' || next == '%' || next == '#') break;
      open = source_.find('{', open + 1);
    }
    return open;
  }

  // Text up to the next tag, and that tag.
  void Text() {
    const size_t open = FindTag();
    if (open == std::string::npos) {
      Emit(source_.substr(at_));
      Advance(source_.size());
      return;
    }
    const char type = source_[open + 1];
    const char sign = open + 2 < source_.size() ? source_[open + 2] : ' ';
    std::string text = source_.substr(at_, open - at_);
    if (sign == '-') {
      while (!text.empty() && IsBlank(text.back())) text.pop_back();
    } else if (sign != '+' && type != '{') {
      StripLineStart(text);
    }
    Emit(std::move(text));
    Advance(open + 2 + (sign == '-' || sign == '+' ? 1 : 0));
    if (type == '#') {
      Comment();
    } else {
      Tag(type);
    }
  }

  void Emit(std::string text) {
    if (!text.empty()) Add(Token::Kind::kText, std::move(text));
  }

  // lstrip_blocks: blanks between the start of the line and a block tag go.
  void StripLineStart(std::string& text) const {
    const size_t newline = text.rfind('\n');
    const size_t start = newline == std::string::npos ? 0 : newline + 1;
    if (start == 0 && !line_starting_) return;
    if (std::all_of(text.begin() + static_cast<std::ptrdiff_t>(start), text.end(), IsBlank)) {
      text.resize(start);
    }
  }

  // After a tag: "-" eats all blanks, and one newline goes after blocks and comments.
  void AfterTag(bool strip, bool trim_newline) {
    const size_t begin = at_;
    if (strip) {
      size_t end = at_;
      while (end < source_.size() && IsBlank(source_[end])) ++end;
      Advance(end);
    } else if (trim_newline && at_ < source_.size() && source_[at_] == '\n') {
      Advance(at_ + 1);
    }
    line_starting_ = at_ > begin && source_[at_ - 1] == '\n';
  }

  void Comment() {
    const size_t close = source_.find("#}", at_);
    if (close == std::string::npos) FailHere("comment without end");
    const char sign = close > at_ ? source_[close - 1] : ' ';
    Advance(close + 2);
    AfterTag(sign == '-', sign != '+');
  }

  void Tag(char type) {
    const bool block = type == '%';
    const std::string_view close = block ? "%}" : "}}";
    Add(block ? Token::Kind::kBlockBegin : Token::Kind::kOutputBegin, "");
    const size_t first = tokens_.size();
    brackets_.clear();
    while (true) {
      while (at_ < source_.size() && IsBlank(source_[at_])) Advance(at_ + 1);
      if (at_ >= source_.size()) FailHere("tag without end");
      const char sign = source_[at_];
      const bool signed_close =
          (sign == '-' || (sign == '+' && block)) && source_.compare(at_ + 1, 2, close) == 0;
      if (brackets_.empty() && (signed_close || Starts(close))) {
        Add(block ? Token::Kind::kBlockEnd : Token::Kind::kOutputEnd, "");
        Advance(at_ + (signed_close ? 3 : 2));
        AfterTag(signed_close && sign == '-', block && !signed_close);
        break;
      }
      NextToken();
    }
    if (block && tokens_.size() == first + 2 && tokens_[first].text == "raw") Raw();
  }

  void Raw() {
    tokens_.resize(tokens_.size() - 3);
    for (size_t open = source_.find("{%", at_); open != std::string::npos;
         open = source_.find("{%", open + 2)) {
      size_t name = open + 2;
      const char sign = source_.c_str()[name];
      if (sign == '-' || sign == '+') ++name;
      while (name < source_.size() && IsBlank(source_[name])) ++name;
      if (source_.compare(name, 6, "endraw") != 0) continue;
      std::string text = source_.substr(at_, open - at_);
      if (sign == '-') {
        while (!text.empty() && IsBlank(text.back())) text.pop_back();
      } else if (sign != '+') {
        StripLineStart(text);
      }
      Emit(std::move(text));
      const size_t close = source_.find("%}", name);
      if (close == std::string::npos) break;
      const char close_sign = source_[close - 1];
      Advance(close + 2);
      AfterTag(close_sign == '-', close_sign != '+');
      return;
    }
    FailHere("raw block without end");
  }

  void NextToken() {
    const char c = source_[at_];
    if (IsNameStart(c)) {
      size_t end = at_;
      while (end < source_.size() && (IsNameStart(source_[end]) || IsDigit(source_[end]))) ++end;
      Add(Token::Kind::kName, source_.substr(at_, end - at_));
      Advance(end);
    } else if (IsDigit(c)) {
      Number();
    } else if (c == '"' || c == '\'') {
      String(c);
    } else {
      Operator();
    }
  }

  void Number() {
    size_t end = at_;
    bool is_float = false;
    const auto digits = [&] {
      while (end < source_.size() && (IsDigit(source_[end]) || source_[end] == '_')) ++end;
    };
    const auto digit_at = [&](size_t place) {
      return place < source_.size() && IsDigit(source_[place]);
    };
    digits();
    if (end < source_.size() && source_[end] == '.' && digit_at(end + 1)) {
      is_float = true;
      ++end;
      digits();
    }
    if (end < source_.size() && (source_[end] == 'e' || source_[end] == 'E')) {
      const bool sign =
          end + 1 < source_.size() && (source_[end + 1] == '-' || source_[end + 1] == '+');
      if (digit_at(end + (sign ? 2 : 1))) {
        is_float = true;
        end += sign ? 2 : 1;
        digits();
      }
    }
    Add(is_float ? Token::Kind::kFloat : Token::Kind::kInteger,
        ReplaceAll(std::string_view(source_).substr(at_, end - at_), "_", ""));
    Advance(end);
  }

  void String(char quote) {
    std::string text;
    size_t end = at_ + 1;
    while (end < source_.size() && source_[end] != quote) {
      if (source_[end] == '\\') {
        Escape(end, text);
      } else {
        text += source_[end++];
      }
    }
    if (end >= source_.size()) FailHere("string without end");
    Add(Token::Kind::kString, std::move(text));
    Advance(end + 1);
  }

  // Python's escapes; `at` is at the backslash and moves behind the escape.
  void Escape(size_t& at, std::string& out) const {
    if (at + 1 >= source_.size()) FailHere("string without end");
    const char c = source_[at + 1];
    constexpr std::string_view kLetters = "ntrbfav0\\'\"";
    constexpr std::string_view kMeanings("\n\t\r\b\f\a\v\0\\'\"", 11);
    const int digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
    at += 2;
    if (digits > 0) {
      char32_t code = 0;
      for (int i = 0; i < digits; ++i, ++at) {
        const char digit = at < source_.size() ? source_[at] : ' ';
        const bool letter = (digit >= 'a' && digit <= 'f') || (digit >= 'A' && digit <= 'F');
        if (!IsDigit(digit) && !letter) FailHere("bad escape in a string");
        code = code * 16 +
               static_cast<char32_t>(IsDigit(digit) ? digit - '0' : (digit | 32) - 'a' + 10);
      }
      if (code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) FailHere("bad escape in a string");
      AppendUtf8(code, out);
    } else if (const size_t place = kLetters.find(c); place != std::string_view::npos) {
      out += kMeanings[place];
    } else if (c != '\n') {
      out.append("\\") += c;
    }
  }

  void Operator() {
    constexpr std::array<std::string_view, 29> kOperators = {
        "**", "//", "==", "!=", "<=", ">=", "+", "-", "/", "*", "%", "~", "[", "]", "(",
        ")",  "{",  "}",  "<",  ">",  "=",  ".", ":", "|", ",", ";", "!", "&", "^"};
    for (const std::string_view candidate : kOperators) {
      if (!Starts(candidate)) continue;
      if (candidate == "(" || candidate == "[" || candidate == "{") brackets_ += candidate;
      if (candidate == ")" || candidate == "]" || candidate == "}") {
        const char open = candidate == ")" ? '(' : candidate == "]" ? '[' : '{';
        if (!brackets_.ends_with(open)) FailHere("unexpected '" + std::string(candidate) + "'");
        brackets_.pop_back();
      }
      Add(Token::Kind::kOperator, std::string(candidate));
      Advance(at_ + candidate.size());
      return;
    }
    FailHere(std::string("unexpected character '") + source_[at_] + "'");
  }

  std::string source_;
  size_t at_ = 0;
  int line_ = 1;
  bool line_starting_ = true;
  std::string brackets_;  // open in the current tag
  std::vector<Token> tokens_;
};

}  // namespace

std::vector<Token> Tokenize(std::string_view source) { return Lexer(source).Run(); }

}  // namespace rondo::jinja
