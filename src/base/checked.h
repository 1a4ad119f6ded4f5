// Checked arithmetic for every size that comes from outside the process.
#pragma once

#include <concepts>
#include <cstdint>
#include <string>
#include <utility>

#include "rondo/error.h"

namespace rondo {

[[noreturn]] inline void ThrowOverflow(const std::string& a, const char* op, const std::string& b) {
  throw Error({.function = "CheckedArithmetic",
               .problem = a + " " + op + " " + b + " overflows",
               .expected = "a size that fits in memory"});
}

template <std::integral T>
T CheckedMul(T a, T b) {
  T out;
  if (__builtin_mul_overflow(a, b, &out)) ThrowOverflow(std::to_string(a), "*", std::to_string(b));
  return out;
}

template <std::integral T>
T CheckedAdd(T a, T b) {
  T out;
  if (__builtin_add_overflow(a, b, &out)) ThrowOverflow(std::to_string(a), "+", std::to_string(b));
  return out;
}

// Converts between integer types; throws when the value does not fit.
template <std::integral To, std::integral From>
To CheckedCast(From value) {
  if (!std::in_range<To>(value)) {
    throw Error({.function = "CheckedCast",
                 .problem = "value " + std::to_string(value) + " does not fit its type"});
  }
  return static_cast<To>(value);
}

}  // namespace rondo
