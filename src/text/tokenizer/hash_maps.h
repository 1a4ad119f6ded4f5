// Two open-addressing hash tables for the inner loops of tokenization.
#pragma once

#include <bit>
#include <cstdint>
#include <string_view>
#include <vector>

#include "base/hash.h"

namespace rondo {

// Text -> id. The texts are not copied: they must outlive the table.
class TextToId {
 public:
  explicit TextToId(size_t expected = 0) : slots_(std::bit_ceil(expected * 2 + 8)) {
    entries_.reserve(expected);
  }

  // False if the text was there already (its id is kept).
  bool Insert(std::string_view text, int32_t id) {
    if ((entries_.size() + 1) * 4 > slots_.size() * 3) Grow();
    const uint64_t hash = HashText(text);
    Slot* slot = Locate(text, hash);
    if (slot->entry >= 0) return false;
    *slot = {Tag(hash), static_cast<int32_t>(entries_.size())};
    entries_.push_back({text, id});
    return true;
  }

  int32_t Find(std::string_view text) const {  // -1: none
    const Slot* slot = const_cast<TextToId*>(this)->Locate(text, HashText(text));
    return slot->entry < 0 ? -1 : entries_[static_cast<size_t>(slot->entry)].id;
  }

 private:
  // Small slots with a few bits of the hash: most places that hold another text are passed without
  // touching it.
  struct Slot {
    uint32_t tag = 0;
    int32_t entry = -1;
  };
  struct Entry {
    std::string_view text;
    int32_t id;
  };

  static uint32_t Tag(uint64_t hash) { return static_cast<uint32_t>(hash >> 32); }

  Slot* Locate(std::string_view text, uint64_t hash) {
    const size_t mask = slots_.size() - 1;
    for (size_t i = hash & mask;; i = (i + 1) & mask) {
      Slot& slot = slots_[i];
      if (slot.entry < 0) return &slot;
      if (slot.tag == Tag(hash) && entries_[static_cast<size_t>(slot.entry)].text == text) {
        return &slot;
      }
    }
  }

  void Grow() {
    std::vector<Slot> wider(slots_.size() * 2);
    wider.swap(slots_);
    for (size_t i = 0; i < entries_.size(); ++i) {
      const uint64_t hash = HashText(entries_[i].text);
      *Locate(entries_[i].text, hash) = {Tag(hash), static_cast<int32_t>(i)};
    }
  }

  std::vector<Slot> slots_;
  std::vector<Entry> entries_;
};

struct RankedMerge {
  int32_t rank = -1;    // smaller is better; -1: the pair does not merge
  int32_t result = -1;  // id of the merged token
};

// (left id, right id) -> merge.
class PairToMerge {
 public:
  explicit PairToMerge(size_t expected = 0) : slots_(std::bit_ceil(expected * 2 + 8)) {}

  // A later entry for the same pair replaces the earlier one. Takes at most `expected` entries.
  void Insert(int32_t left, int32_t right, RankedMerge merge) {
    Slot* slot = Locate(Key(left, right));
    slot->key = Key(left, right);
    slot->merge = merge;
  }

  RankedMerge Find(int32_t left, int32_t right) const {
    return const_cast<PairToMerge*>(this)->Locate(Key(left, right))->merge;
  }

 private:
  static constexpr uint64_t kEmpty = ~uint64_t{0};
  struct Slot {
    uint64_t key = kEmpty;
    RankedMerge merge;
  };

  static uint64_t Key(int32_t left, int32_t right) {
    return uint64_t{static_cast<uint32_t>(left)} << 32 | static_cast<uint32_t>(right);
  }

  Slot* Locate(uint64_t key) {
    const size_t mask = slots_.size() - 1;
    for (size_t i = MixHash(key) & mask;; i = (i + 1) & mask) {
      if (slots_[i].key == key || slots_[i].key == kEmpty) return &slots_[i];
    }
  }

  std::vector<Slot> slots_;
};

}  // namespace rondo
