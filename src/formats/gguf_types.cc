#include "formats/gguf_types.h"

#include <string_view>

#include "rondo/error.h"

namespace rondo {
namespace {

struct Supported {
  DType dtype;
  uint32_t number;
  std::string_view name;
};

constexpr Supported kSupported[] = {
    {DType::kF32, 0, "F32"},
    {DType::kF16, 1, "F16"},
    {DType::kBF16, 30, "BF16"},
    {DType::kQ8_0, 8, "Q8_0"},
    {DType::kQ4_0, 2, "Q4_0"},
    {DType::kQ4_1, 3, "Q4_1"},
    {DType::kQ5_0, 6, "Q5_0"},
    {DType::kQ5_1, 7, "Q5_1"},
    {DType::kQ4_K, 12, "Q4_K"},
    {DType::kQ5_K, 13, "Q5_K"},
    {DType::kQ6_K, 14, "Q6_K"},
    {DType::kQ2_K, 10, "Q2_K"},
    {DType::kQ3_K, 11, "Q3_K"},
    {DType::kIQ4_NL, 20, "IQ4_NL"},
    {DType::kIQ4_XS, 23, "IQ4_XS"},
    {DType::kMXFP4, 39, "MXFP4"},
    // rondo's own, far above the numbers that ggml counts up: only rondo reads them.
    {DType::kQ2_0, 1002, "rondo Q2_0"},
    {DType::kQ2_1, 1012, "rondo Q2_1"},
    {DType::kQ3_0, 1003, "rondo Q3_0"},
    {DType::kQ3_1, 1013, "rondo Q3_1"},
};

// Types of the specification that rondo does not read, so that errors can name them.
constexpr std::pair<uint32_t, std::string_view> kUnsupported[] = {
    {4, "Q4_2 (withdrawn)"},
    {5, "Q4_3 (withdrawn)"},
    {9, "Q8_1"},
    {15, "Q8_K"},
    {16, "IQ2_XXS"},
    {17, "IQ2_XS"},
    {18, "IQ3_XXS"},
    {19, "IQ1_S"},
    {21, "IQ3_S"},
    {22, "IQ2_S"},
    {24, "I8"},
    {25, "I16"},
    {26, "I32"},
    {27, "I64"},
    {29, "IQ1_M"},
    {34, "TQ1_0"},
    {35, "TQ2_0"},
    {40, "NVFP4"},
    {41, "Q1_0"},
};

std::string NameOfUnsupported(uint32_t number) {
  for (const auto& [known, name] : kUnsupported) {
    if (known == number) return "type " + std::string(name);
  }
  return "unknown type number " + std::to_string(number);
}

}  // namespace

uint32_t GgufTypeNumber(DType dtype) {
  for (const Supported& type : kSupported) {
    if (type.dtype == dtype) return type.number;
  }
  throw Error({.function = "GgufTypeNumber",
               .problem = "no GGUF type for " + std::string(Info(dtype).name)});
}

DType DTypeFromGgufNumber(uint32_t number, const std::string& file, const std::string& field) {
  std::string names;
  for (const Supported& type : kSupported) {
    if (type.number == number) return type.dtype;
    names += (names.empty() ? "" : ", ") + std::string(type.name);
  }
  throw Error({.function = "ReadGguf",
               .problem = NameOfUnsupported(number) + " is not supported",
               .expected = "one of " + names + ", F64",
               .file = file,
               .field = field});
}

}  // namespace rondo
