// Tie maps written by hand.
#include <algorithm>
#include <charconv>
#include <string>
#include <vector>

#include "base/strings.h"
#include "rondo/error.h"
#include "rondo/fold.h"

namespace rondo {
namespace {

const std::vector<std::string> kGroups = {"attention", "ffn", "norms", "all"};

std::vector<int> ParseLabels(std::string text, const std::string& file, const std::string& field) {
  for (char& c : text) {
    if (c == ',' || c == '\t' || c == '\r') c = ' ';
  }
  std::vector<int> labels;
  for (const std::string& word : Split(text, ' ')) {
    if (word.empty()) continue;
    int label = 0;
    const auto [end, code] = std::from_chars(word.data(), word.data() + word.size(), label);
    if (code != std::errc{} || end != word.data() + word.size() || label < 0) {
      throw Error({.function = "TieOrdersFromText",
                   .problem = "'" + word + "'",
                   .expected = "block numbers, 0 or more",
                   .file = file,
                   .field = field});
    }
    labels.push_back(label);
  }
  return labels;
}

}  // namespace

std::array<TieOrder, 3> TieOrdersFromText(std::string_view text, const std::string& file) {
  const auto fail = [&](int number, std::string problem, std::string expected) {
    throw Error({.function = "TieOrdersFromText",
                 .problem = std::move(problem),
                 .expected = std::move(expected),
                 .file = file,
                 .field = "line " + std::to_string(number)});
  };
  std::array<TieOrder, 3> orders;
  for (TieOrder& order : orders) order.order = "identity";
  int number = 0;
  for (const std::string& raw : Split(text, '\n')) {
    ++number;
    const std::string line(Trim(raw.substr(0, raw.find('#'))));
    if (line.empty()) continue;
    const size_t colon = line.find(':');
    if (colon == std::string::npos) fail(number, "no group name", "all: 0 1 0 1");
    const std::string name(Trim(line.substr(0, colon)));
    const auto found = std::find(kGroups.begin(), kGroups.end(), name);
    if (found == kGroups.end()) {
      fail(number, "unknown module group '" + name + "'", UnknownNameHint(name, kGroups));
    }
    const auto group = static_cast<size_t>(found - kGroups.begin());
    const std::vector<int> labels =
        ParseLabels(line.substr(colon + 1), file, "line " + std::to_string(number));
    for (size_t g = 0; g < orders.size(); ++g) {
      if (g != group && group != orders.size()) continue;
      orders[g] = {.order = "custom", .blocks = labels};
    }
  }
  return orders;
}

}  // namespace rondo
