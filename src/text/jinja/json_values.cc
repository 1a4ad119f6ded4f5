#include "text/jinja/json_values.h"

#include <limits>
#include <nlohmann/json.hpp>

#include "base/file.h"

namespace rondo {

using Json = nlohmann::json;

Json ReadJsonFile(const std::string& file) { return ParseJsonChecked(ReadTextFile(file), file); }

const Json& Member(JsonObject& object, std::string_view key) {
  const Json* value = object.Find(key);
  if (value == nullptr) object.Fail(key, "missing", "a value");
  return *value;
}

const Json& ArrayMember(JsonObject& object, std::string_view key) {
  const Json& value = Member(object, key);
  if (!value.is_array()) object.Fail(key, std::string("is ") + value.type_name(), "an array");
  return value;
}

std::optional<int32_t> JsonId(const Json& value) {
  constexpr int64_t kMost = std::numeric_limits<int32_t>::max();
  if (!value.is_number_integer()) return std::nullopt;
  const bool huge = value.is_number_unsigned() && value.get<uint64_t>() > uint64_t{kMost};
  if (huge || value.get<int64_t>() < 0 || value.get<int64_t>() > kMost) return std::nullopt;
  return static_cast<int32_t>(value.get<int64_t>());
}

}  // namespace rondo
