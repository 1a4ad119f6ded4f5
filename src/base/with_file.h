// Errors of functions that do not know which file they work for gain its name on the way out.
//
//   WithFile(path, [&] { plan.Validate(config); });
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

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

// The names that a file has for the fields of our structs: {ours, the file's}.
using FieldNames = std::vector<std::pair<std::string_view, std::string>>;

// As WithFile; an error about one of our fields names the file's own.
template <typename Work>
auto WithFileNames(const std::string& file, const FieldNames& names, Work&& work) {
  try {
    return WithFile(file, std::forward<Work>(work));
  } catch (const Error& error) {
    ErrorInfo info = error.info();
    for (const auto& [ours, theirs] : names) {
      if (info.field != ours || theirs.empty()) continue;
      info.field = theirs;
      throw Error(std::move(info));
    }
    throw;
  }
}

}  // namespace rondo
