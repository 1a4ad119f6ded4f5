// Tables of methods.
#pragma once

#include <span>
#include <string_view>

#include "text/jinja/jinja_value.h"

namespace rondo::jinja {

struct NamedMethod {
  std::string_view name;
  Value (*method)(Interpreter&, const Value& self, const Arguments&);  // nullptr: not supported
};

std::span<const NamedMethod> StringMethods();

}  // namespace rondo::jinja
