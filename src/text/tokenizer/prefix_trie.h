// Finds the longest of a set of strings that starts at a place of a text.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace rondo {

class PrefixTrie {
 public:
  struct Match {
    int32_t value = -1;  // -1: no match
    size_t length = 0;
  };

  PrefixTrie() { first_.fill(-1); }
  // `value` >= 0. A string that is already there keeps its first value.
  void Insert(std::string_view text, int32_t value);
  Match LongestAt(std::string_view text, size_t position) const;
  // visit(value, length) for every string that starts at `position`, the shortest first.
  template <typename Visit>
  void ForEachAt(std::string_view text, size_t position, const Visit& visit) const {
    if (position >= text.size()) return;
    int32_t node = first_[static_cast<unsigned char>(text[position])];
    for (size_t end = position + 1; node >= 0; ++end) {
      if (values_[static_cast<size_t>(node)] >= 0) {
        visit(values_[static_cast<size_t>(node)], end - position);
      }
      node = end < text.size() ? Child(node, text[end]) : -1;
    }
  }
  // The first place at or after `position` where some string may start; text.size() if none.
  size_t NextCandidate(std::string_view text, size_t position) const {
    if (values_.empty()) return text.size();
    while (position < text.size() && first_[static_cast<unsigned char>(text[position])] < 0) {
      ++position;
    }
    return position;
  }
  bool empty() const { return values_.empty(); }

 private:
  int32_t Child(int32_t node, char byte) const;  // -1: none

  std::array<int32_t, 256> first_;                  // node after the first byte
  std::unordered_map<uint64_t, int32_t> children_;  // node << 8 | byte -> node
  std::vector<int32_t> values_;                     // by node
};

}  // namespace rondo
