// JSON helpers of the tokenizer readers, beside base/json.h.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "base/json.h"

namespace rondo {

nlohmann::json ReadJsonFile(const std::string& file);

// The object's member, which must be there.
const nlohmann::json& Member(JsonObject& object, std::string_view key);
// The object's member, which must be an array.
const nlohmann::json& ArrayMember(JsonObject& object, std::string_view key);

// A non-negative integer that fits int32; nothing otherwise.
std::optional<int32_t> JsonId(const nlohmann::json& value);

}  // namespace rondo
