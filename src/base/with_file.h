// Errors of functions that do not know which file they work for gain its name on the way out.
//
//   WithFile(path, [&] { plan.Validate(config); });
#pragma once

#include <string>
#include <utility>

#include "rondo/error.h"

namespace rondo {

// Calls work(); a rondo::Error without a file (and, if `field` is given, without a field) is
// rethrown with it.
template <typename Work>
auto WithFile(const std::string& file, Work&& work, const std::string& field = {}) {
  try {
    return std::forward<Work>(work)();
  } catch (const Error& error) {
    ErrorInfo info = error.info();
    if (!info.file.empty()) throw;
    info.file = file;
    if (info.field.empty()) info.field = field;
    throw Error(std::move(info));
  }
}

}  // namespace rondo
