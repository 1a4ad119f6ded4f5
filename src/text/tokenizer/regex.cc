#include "text/tokenizer/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <utility>

#include "rondo/error.h"
#include "text/tokenizer/regex_syntax.h"
#include "text/unicode/utf8.h"

namespace rondo {
namespace {

constexpr size_t kMaxPatternBytes = 1 << 14;
constexpr uint32_t kMatchLimit = 2'000'000;  // steps of one match

std::string Message(int code) {
  unsigned char text[256];
  return pcre2_get_error_message(code, text, sizeof(text)) > 0 ? reinterpret_cast<char*>(text)
                                                               : "PCRE2 error";
}

}  // namespace

struct Regex::State {
  ~State() {
    pcre2_match_context_free(context);
    pcre2_code_free(code);
  }
  pcre2_code* code = nullptr;
  pcre2_match_context* context = nullptr;
  bool jit = false;
  std::string pattern;
  std::string file;
  std::string field;
};

Regex::Regex(const std::string& pattern, const std::string& file, const std::string& field)
    : state_(std::make_unique<State>()) {
  state_->pattern = pattern.substr(0, 200);
  state_->file = file;
  state_->field = field;
  if (pattern.size() > kMaxPatternBytes || !IsValidUtf8(pattern)) {
    throw Error({.function = "Regex",
                 .problem = "regular expression is not UTF-8 of at most 16 KiB",
                 .file = file,
                 .field = field});
  }
  const std::string translated = OnigurumaToPcre2(pattern, file, field);
  const std::unique_ptr<pcre2_compile_context, void (*)(pcre2_compile_context*)> compile(
      pcre2_compile_context_create(nullptr), pcre2_compile_context_free);
  pcre2_set_newline(compile.get(), PCRE2_NEWLINE_LF);
  int code = 0;
  PCRE2_SIZE offset = 0;
  // Ruby's ^ and $, which Oniguruma has, are those of lines.
  state_->code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
                               PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C,
                               &code, &offset, compile.get());
  if (state_->code == nullptr) {
    throw Error({.function = "Regex",
                 .problem = "bad regular expression '" + state_->pattern + "': " + Message(code),
                 .file = file,
                 .field = field});
  }
  state_->jit = pcre2_jit_compile(state_->code, PCRE2_JIT_COMPLETE) == 0;
  state_->context = pcre2_match_context_create(nullptr);
  pcre2_set_match_limit(state_->context, kMatchLimit);
  pcre2_set_heap_limit(state_->context, 1 << 16);  // KiB
}

Regex::~Regex() = default;
Regex::Regex(Regex&&) noexcept = default;

struct Regex::Matcher::State {
  ~State() { pcre2_match_data_free(data); }
  const Regex::State* regex = nullptr;
  pcre2_match_data* data = nullptr;
};

Regex::Matcher::Matcher(const Regex& regex) : state_(std::make_unique<State>()) {
  state_->regex = regex.state_.get();
  state_->data = pcre2_match_data_create_from_pattern(regex.state_->code, nullptr);
}

Regex::Matcher::~Matcher() = default;
Regex::Matcher::Matcher(Matcher&&) noexcept = default;

bool Regex::Matcher::Search(std::string_view text, size_t start, size_t& begin, size_t& end) {
  const Regex::State& regex = *state_->regex;
  const auto match = regex.jit ? pcre2_jit_match : pcre2_match;
  const int count = match(regex.code, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), start,
                          PCRE2_NO_UTF_CHECK, state_->data, regex.context);
  if (count == PCRE2_ERROR_NOMATCH) return false;
  if (count < 0) {
    throw Error({.function = "Regex",
                 .problem = "regular expression '" + regex.pattern + "' gave up: " + Message(count),
                 .file = regex.file,
                 .field = regex.field});
  }
  const PCRE2_SIZE* span = pcre2_get_ovector_pointer(state_->data);
  begin = span[0];
  end = span[1];
  return true;
}

}  // namespace rondo
