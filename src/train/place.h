// Checks of a recipe's values, with errors that name the place.
#pragma once

#include <string>
#include <utility>

#include "base/with_file.h"
#include "rondo/error.h"

namespace rondo {

// Where a section stands in its file.
struct Place {
  std::string file, section;

  void Check(bool good, const char* field, double value, const char* expected) const {
    if (good) return;
    std::string text = std::to_string(value);
    text.erase(text.find_last_not_of('0') + 1);
    if (text.ends_with('.')) text.pop_back();
    throw Error({.function = "Train",
                 .problem = "value " + text,
                 .expected = expected,
                 .file = file,
                 .field = section + "." + field});
  }
  template <typename Work>
  auto Named(const char* field, Work&& work) const {
    return WithFile(file, std::forward<Work>(work), section + "." + field);
  }
};

}  // namespace rondo
