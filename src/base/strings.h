// Small string helpers shared by all rooms.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace rondo {

std::vector<std::string> Split(std::string_view text, char separator);
std::string Join(std::span<const std::string> parts, std::string_view separator);
std::string_view Trim(std::string_view text);
std::string FirstLine(std::string_view text);

// The candidate nearest to `name` by edit distance, for "did you mean" hints; empty if none is
// within a third of the name's length (at least 2 edits are always allowed).
std::string NearestName(std::string_view name, std::span<const std::string> candidates);

// What was expected instead of an unknown name: "one of cycle, sequence; did you mean 'cycle'?".
// Many candidates are listed only where none is near.
std::string UnknownNameHint(std::string_view name, std::span<const std::string> candidates);

// 1234567 -> "1,234,567"; 1536 bytes -> "1.5 KiB".
std::string WithThousands(int64_t value);
// No more digits than it takes to read the same number back: "0.0003", "1e-08".
std::string ShortestNumber(double value);
std::string HumanBytes(uint64_t bytes);

}  // namespace rondo
