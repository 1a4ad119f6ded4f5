// What templates find without being given it: range(), namespace(), raise_exception(), … and
// `loop`.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "text/jinja/jinja_value.h"

namespace rondo::jinja {

void AddGlobals(std::vector<std::pair<std::string, Value>>& variables);

inline constexpr const char* kLoopCall = "__call__";  // member of `loop` in a recursive one

// What a loop body sees as `loop`. `seen` is what loop.changed() was asked last; `recursive` what
// loop(…) calls, or an undefined value.
Value LoopVariable(const std::vector<Value>& items, size_t index, int64_t depth,
                   const std::shared_ptr<Value>& seen, const Value& recursive);

}  // namespace rondo::jinja
