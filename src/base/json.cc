#include "base/json.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <unordered_set>

#include "base/strings.h"
#include "rondo/error.h"

namespace rondo {
namespace {

using nlohmann::json;

// Writing JSON text and several consumers recurse once a level, so hostile depth is stopped here.
constexpr int kMaxDepth = 64;
constexpr size_t kMaxMessage = 300;

std::string Cut(std::string text, size_t limit) {
  if (text.size() <= limit) return text;
  while (limit > 0 && (static_cast<unsigned char>(text[limit]) & 0xc0u) == 0x80u) --limit;
  return text.substr(0, limit) + "…";
}

// Watches the parser: depth, and the keys already seen in each open object.
class Guard {
 public:
  explicit Guard(const std::string& file) : file_(file) {}

  bool operator()(int depth, json::parse_event_t event, json& parsed) {
    switch (event) {
      case json::parse_event_t::array_start:
      case json::parse_event_t::object_start:
        if (depth >= kMaxDepth) {
          Fail("nested deeper than " + std::to_string(kMaxDepth) + " levels", {});
        }
        if (event == json::parse_event_t::object_start) keys_.emplace_back();
        break;
      case json::parse_event_t::object_end:
        keys_.pop_back();
        break;
      case json::parse_event_t::key: {
        const std::string& key = parsed.get_ref<const std::string&>();
        if (!keys_.back().insert(key).second) Fail("key occurs twice", Cut(key, kMaxMessage));
        break;
      }
      default:
        break;
    }
    return true;
  }

 private:
  [[noreturn]] void Fail(std::string problem, std::string field) const {
    throw Error({.function = "ParseJson",
                 .problem = std::move(problem),
                 .file = file_,
                 .field = std::move(field)});
  }

  const std::string& file_;
  std::vector<std::unordered_set<std::string>> keys_;
};

}  // namespace

json ParseJsonChecked(std::string_view text, const std::string& file) {
  try {
    Guard guard(file);
    return json::parse(text, [&guard](int depth, json::parse_event_t event, json& parsed) {
      return guard(depth, event, parsed);
    });
  } catch (const json::exception& error) {
    throw Error({.function = "ParseJson",
                 .problem = Cut(error.what(), kMaxMessage),
                 .expected = "valid JSON",
                 .file = file});
  }
}

std::string JsonExcerpt(const json& value) {
  if (value.is_structured()) return std::string("an ") + value.type_name();
  return Cut(value.dump(), 80);
}

JsonObject::JsonObject(const json& value, std::string function, std::string file, std::string field)
    : value_(&value),
      function_(std::move(function)),
      file_(std::move(file)),
      field_(std::move(field)) {
  if (!value.is_object()) Fail("", JsonExcerpt(value), "an object");
}

void JsonObject::Fail(std::string_view key, std::string problem, std::string expected) const {
  std::string field = field_;
  if (!key.empty()) field += (field.empty() ? "" : ".") + Cut(std::string(key), kMaxMessage);
  throw Error({.function = function_,
               .problem = std::move(problem),
               .expected = std::move(expected),
               .file = file_,
               .field = std::move(field)});
}

bool JsonObject::Contains(std::string_view key) const { return value_->contains(key); }

const json* JsonObject::Find(std::string_view key) {
  known_.emplace(key);
  const auto found = value_->find(key);
  return found == value_->end() || found->is_null() ? nullptr : &*found;
}

const json& JsonObject::Required(std::string_view key, const char* expected) {
  const json* value = Find(key);
  if (value == nullptr) Fail(key, "missing", expected);
  return *value;
}

int JsonObject::ToInt(std::string_view key, const json& value) const {
  constexpr int64_t kLimit = 1 << 24;
  if (!value.is_number_integer()) Fail(key, JsonExcerpt(value), "an integer");
  const bool huge = value.is_number_unsigned() && value.get<uint64_t>() > uint64_t{kLimit};
  if (huge || value.get<int64_t>() < -kLimit || value.get<int64_t>() > kLimit) {
    Fail(key, JsonExcerpt(value), "an integer of at most 16777216");
  }
  return value.get<int>();
}

int JsonObject::Int(std::string_view key, std::optional<int> fallback) {
  if (fallback && Find(key) == nullptr) return *fallback;
  return ToInt(key, Required(key, "an integer"));
}

double JsonObject::Number(std::string_view key, std::optional<double> fallback) {
  if (fallback && Find(key) == nullptr) return *fallback;
  return ToNumber(key, Required(key, "a number"));
}

double JsonObject::ToNumber(std::string_view key, const json& value) const {
  if (!value.is_number()) Fail(key, JsonExcerpt(value), "a number");
  const double number = value.get<double>();
  if (!(std::abs(number) <= 1e30)) Fail(key, JsonExcerpt(value), "a number of at most 1e30");
  return number;
}

bool JsonObject::Bool(std::string_view key, std::optional<bool> fallback) {
  if (fallback && Find(key) == nullptr) return *fallback;
  const json& value = Required(key, "true or false");
  if (!value.is_boolean()) Fail(key, JsonExcerpt(value), "true or false");
  return value.get<bool>();
}

std::string JsonObject::String(std::string_view key, std::optional<std::string> fallback) {
  if (fallback && Find(key) == nullptr) return *fallback;
  const json& value = Required(key, "a string");
  if (!value.is_string()) Fail(key, JsonExcerpt(value), "a string");
  return value.get<std::string>();
}

std::vector<int> JsonObject::Ints(std::string_view key) {
  std::vector<int> out;
  const json* value = Find(key);
  if (value == nullptr) return out;
  if (!value->is_array()) Fail(key, JsonExcerpt(*value), "an array of integers");
  for (const json& entry : *value) out.push_back(ToInt(key, entry));
  return out;
}

std::vector<double> JsonObject::Numbers(std::string_view key) {
  std::vector<double> out;
  const json* value = Find(key);
  if (value == nullptr) return out;
  if (!value->is_array()) Fail(key, JsonExcerpt(*value), "an array of numbers");
  for (const json& entry : *value) out.push_back(ToNumber(key, entry));
  return out;
}

std::vector<std::string> JsonObject::Strings(std::string_view key) {
  std::vector<std::string> out;
  const json* value = Find(key);
  if (value == nullptr) return out;
  if (!value->is_array()) Fail(key, JsonExcerpt(*value), "an array of strings");
  for (const json& entry : *value) {
    if (!entry.is_string()) Fail(key, JsonExcerpt(entry), "a string");
    out.push_back(entry.get<std::string>());
  }
  return out;
}

JsonObject JsonObject::Object(std::string_view key) {
  const json& value = Required(key, "an object");
  return {value, function_, file_, (field_.empty() ? "" : field_ + ".") + std::string(key)};
}

void JsonObject::Ignore(std::span<const std::string_view> keys) {
  known_.insert(keys.begin(), keys.end());
}

void JsonObject::RefuseUnknownKeys() const {
  for (const auto& [key, value] : value_->items()) {
    if (known_.contains(key) || value.is_null()) continue;
    const std::vector<std::string> known(known_.begin(), known_.end());
    const std::string nearest = NearestName(key, known);
    Fail(key, "unknown key with value " + JsonExcerpt(value),
         "only keys that this version understands" +
             (nearest.empty() ? "" : "; did you mean '" + nearest + "'?"));
  }
}

std::vector<std::string> JsonObject::Keys() const {
  std::vector<std::string> keys;
  for (const auto& [key, value] : value_->items()) keys.push_back(key);
  return keys;
}

}  // namespace rondo
