// Names of the fold options, as flags and reports spell them, and hand-written tie maps.
#include <charconv>
#include <string>
#include <vector>

#include "base/strings.h"
#include "rondo/error.h"
#include "rondo/fold.h"

namespace rondo {
namespace {

const std::vector<std::string> kInits = {"stepwise", "average", "lower", "upper", "random"};
const std::vector<std::string> kPolicies = {"own", "absorbed", "tied"};
const std::vector<std::string> kGroups = {"attention", "ffn", "norms", "all"};

size_t IndexOf(const std::vector<std::string>& names, std::string_view name, const char* what) {
  for (size_t i = 0; i < names.size(); ++i) {
    if (names[i] == name) return i;
  }
  throw Error({.function = "FoldOptions",
               .problem = "unknown " + std::string(what) + " '" + std::string(name) + "'",
               .expected = UnknownNameHint(name, names)});
}

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

std::string_view Name(InitKind init) { return kInits[static_cast<size_t>(init)]; }
InitKind InitKindFromName(std::string_view name) {
  return static_cast<InitKind>(IndexOf(kInits, name, "initialisation"));
}

std::string_view Name(NormPolicy policy) { return kPolicies[static_cast<size_t>(policy)]; }
NormPolicy NormPolicyFromName(std::string_view name) {
  return static_cast<NormPolicy>(IndexOf(kPolicies, name, "norm policy"));
}

std::array<TieOrder, 3> TieOrdersFromText(std::string_view text, const std::string& file) {
  std::array<TieOrder, 3> orders;
  for (TieOrder& order : orders) order.order = "custom";
  int number = 0;
  for (const std::string& raw : Split(text, '\n')) {
    ++number;
    const std::string line(Trim(raw.substr(0, raw.find('#'))));
    if (line.empty()) continue;
    const size_t colon = line.find(':');
    const std::string field = "line " + std::to_string(number);
    if (colon == std::string::npos) {
      throw Error({.function = "TieOrdersFromText",
                   .problem = "no group name",
                   .expected = "'all: 0 1 0 1', or attention, ffn, norms",
                   .file = file,
                   .field = field});
    }
    const size_t group = IndexOf(kGroups, Trim(line.substr(0, colon)), "module group");
    const std::vector<int> labels = ParseLabels(line.substr(colon + 1), file, field);
    for (size_t g = 0; g < orders.size(); ++g) {
      if (g == group || group == orders.size()) orders[g].blocks = labels;
    }
  }
  return orders;
}

}  // namespace rondo
