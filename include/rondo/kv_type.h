// How keys and values are kept between steps. Plain values; the functions are thread-safe.
//
//   KvType type = KvTypeFromName("int8");
//   std::cout << Name(type);
#pragma once

#include <string_view>

namespace rondo {

// int8 keeps one scale for each position and head, of keys and of values.
enum class KvType { kF32, kBF16, kInt8 };
std::string_view Name(KvType type);  // f32, bf16, int8
// Throws rondo::Error listing the names.
KvType KvTypeFromName(std::string_view name);

}  // namespace rondo
