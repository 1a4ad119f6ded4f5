// Numbers and names of the GGUF specification that reader and writer share.
#pragma once

#include <cstdint>
#include <string>

#include "rondo/tensor.h"

namespace rondo {

inline constexpr uint32_t kGgufMagic = 0x46554747;  // "GGUF", little-endian
inline constexpr uint32_t kGgufVersion = 3;
inline constexpr uint64_t kGgufDefaultAlignment = 32;
inline constexpr uint32_t kGgufMaxDims = 4;
inline constexpr size_t kGgufMaxKey = 65535;
inline constexpr size_t kGgufMaxTensorName = 63;  // llama.cpp's limit without its closing NUL

enum class GgufValueType : uint32_t {
  kU8,
  kI8,
  kU16,
  kI16,
  kU32,
  kI32,
  kF32,
  kBool,
  kString,
  kArray,
  kU64,
  kI64,
  kF64,
};
inline constexpr uint32_t kGgufValueTypes = 13;

// GGUF's number of an element type.
uint32_t GgufTypeNumber(DType dtype);

// Doubles, which become f32 when they are read.
inline constexpr uint32_t kGgufF64 = 28;

// The element type with that number. Throws naming the type (also those that GGUF knows and rondo
// does not, such as IQ2_XS), the supported types, `file` and `field`.
DType DTypeFromGgufNumber(uint32_t number, const std::string& file, const std::string& field);

}  // namespace rondo
