// Cuts a template into text and the tokens of its {{ … }} and {% … %} tags, with trim_blocks and
// lstrip_blocks on, as chat templates are rendered.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace rondo::jinja {

struct Token {
  enum class Kind {
    kText,         // between tags
    kOutputBegin,  // {{
    kOutputEnd,    // }}
    kBlockBegin,   // {%
    kBlockEnd,     // %}
    kName,
    kString,  // unescaped
    kInteger,
    kFloat,
    kOperator,
    kEnd,
  };
  Kind kind;
  std::string text;
  int line = 0;
};

// Throws rondo::Error for unclosed tags and unknown characters.
std::vector<Token> Tokenize(std::string_view source);

}  // namespace rondo::jinja
