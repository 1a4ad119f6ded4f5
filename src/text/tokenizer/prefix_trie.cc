#include "text/tokenizer/prefix_trie.h"

namespace rondo {
namespace {

uint64_t ChildKey(int32_t node, char byte) {
  return static_cast<uint64_t>(node) << 8 | static_cast<unsigned char>(byte);
}

}  // namespace

void PrefixTrie::Insert(std::string_view text, int32_t value) {
  if (text.empty()) return;
  int32_t& root_child = first_[static_cast<unsigned char>(text[0])];
  if (root_child < 0) {
    root_child = static_cast<int32_t>(values_.size());
    values_.push_back(-1);
  }
  int32_t node = root_child;
  for (const char byte : text.substr(1)) {
    const auto [child, inserted] =
        children_.emplace(ChildKey(node, byte), static_cast<int32_t>(values_.size()));
    if (inserted) values_.push_back(-1);
    node = child->second;
  }
  if (values_[node] < 0) values_[node] = value;
}

int32_t PrefixTrie::Child(int32_t node, char byte) const {
  const auto child = children_.find(ChildKey(node, byte));
  return child == children_.end() ? -1 : child->second;
}

PrefixTrie::Match PrefixTrie::LongestAt(std::string_view text, size_t position) const {
  Match match;
  ForEachAt(text, position, [&](int32_t value, size_t length) { match = {value, length}; });
  return match;
}

}  // namespace rondo
