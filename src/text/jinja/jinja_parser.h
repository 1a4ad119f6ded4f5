// Tokens to syntax tree.
#pragma once

#include <string_view>

#include "text/jinja/jinja_ast.h"

namespace rondo::jinja {

// Throws rondo::Error naming the line for anything that is not understood, unknown statements,
// filters and tests included, and for nesting beyond what evaluation may recurse.
Block Parse(std::string_view source);

}  // namespace rondo::jinja
