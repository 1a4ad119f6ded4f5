#include "tensor/dtype_names.h"

#include <algorithm>
#include <cctype>

namespace rondo {
namespace {

constexpr int kTypeCount = static_cast<int>(DType::kQ3_1) + 1;

std::string Lower(std::string_view text) {
  std::string lower(text);
  std::ranges::transform(lower, lower.begin(), [](unsigned char c) { return std::tolower(c); });
  return lower;
}

}  // namespace

bool FromText(std::string_view text, DType& value) {
  const std::string name = Lower(text);
  for (int i = 0; i < kTypeCount; ++i) {
    if (Info(static_cast<DType>(i)).name != name) continue;
    value = static_cast<DType>(i);
    return true;
  }
  return false;
}

std::string ToText(DType value) { return std::string(Info(value).name); }

std::vector<std::string> NamesOf(const DType*) {
  std::vector<std::string> names;
  for (int i = 0; i < kTypeCount; ++i) names.push_back(ToText(static_cast<DType>(i)));
  return names;
}

std::string ForeignName(std::string_view text, const DType*) {
  const std::string name = Lower(text);
  const auto is = [&](auto... names) { return ((name == names) || ...); };
  if (is("q4_k_m", "q4_k_s", "q5_k_m", "q5_k_s")) {
    const std::string plain = name.substr(0, 4);
    return "llama.cpp's name of a mixture of types; take " + plain + ", with --embed-type and " +
           "--head-type for the rest";
  }
  if (is("q3_k", "q3_k_s", "q3_k_m", "q3_k_l", "q2_k", "q2_k_s", "iq4_nl", "iq4_xs", "mxfp4")) {
    return "a type that llama.cpp has and rondo does not write; the smallest that llama.cpp reads "
           "are q4_0 and q4_k, those of rondo's own q3_1, q3_0, q2_1 and q2_0";
  }
  if (is("fp16", "half", "float16")) return "written f16 here";
  if (is("bfloat16")) return "written bf16 here";
  if (is("fp32", "float32", "float")) return "written f32 here";
  if (is("int8", "q8")) return "written q8_0 here";
  if (is("int4", "q4")) return "written q4_0 or q4_k here";
  if (is("int3", "q3")) return "written q3_0 or q3_1 here";
  if (is("int2", "q2")) return "written q2_0 or q2_1 here";
  return {};
}

}  // namespace rondo
