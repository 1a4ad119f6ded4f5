// Checks of a recipe's values, with errors that name the place.
#pragma once

#include <string>
#include <utility>

#include "base/with_file.h"
#include "rondo/error.h"

namespace rondo {

// A section of a file; "": its top level.
struct Place {
  std::string file, section;

  std::string Field(const std::string& key) const {
    return section.empty() ? key : section + "." + key;
  }
  [[noreturn]] void Fail(const char* key, std::string problem, std::string expected) const {
    throw Error({.function = "Train",
                 .problem = std::move(problem),
                 .expected = std::move(expected),
                 .file = file,
                 .field = Field(key)});
  }

  void Check(bool good, const char* field, double value, const char* expected) const {
    if (good) return;
    std::string text = std::to_string(value);
    text.erase(text.find_last_not_of('0') + 1);
    if (text.ends_with('.')) text.pop_back();
    Fail(field, "value " + text, expected);
  }
  template <typename Work>
  auto Named(const char* field, Work&& work) const {
    return WithFile(file, std::forward<Work>(work), Field(field));
  }
};

}  // namespace rondo
