// Element types as values of options.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "rondo/tensor.h"

namespace rondo {

// The names allowed where a type is given: of stored matrices, of blocks of 2 to 8 bits, and of
// what the engine multiplies.
inline constexpr std::array<std::string_view, 3> kStoredTypes = {"f32", "bf16", "f16"};
inline constexpr std::array<std::string_view, 12> kQuantizedTypes = {
    "q8_0", "q4_0", "q4_1", "q5_0", "q5_1", "q4_k", "q5_k", "q6_k", "q2_0", "q2_1", "q3_0", "q3_1"};
inline constexpr std::array<std::string_view, 15> kPackedTypes = {
    "auto", "f32",  "bf16", "q8_0", "q4_0", "q4_1", "q5_0", "q5_1",
    "q4_k", "q5_k", "q6_k", "q2_0", "q2_1", "q3_0", "q3_1"};

// For base/options.h. Capitals are taken too.
bool FromText(std::string_view text, DType& value);
std::string ToText(DType value);
std::vector<std::string> NamesOf(const DType*);

// What a name stands for that other programs use and rondo has no type for ("Q4_K_M", "q3_k",
// "fp16"), and what to take instead; empty: nobody's name.
std::string ForeignName(std::string_view name, const DType*);

}  // namespace rondo
