// Reading JSON that comes from outside. Parsing limits depth and refuses duplicate keys; JsonObject
// gives typed access that names file and field in every error, and refuses keys nobody asked for.
//
//   const nlohmann::json json = ParseJsonChecked(text, file);
//   JsonObject object(json, "ReadConfig", file);
//   const int layers = object.Int("num_hidden_layers");
//   object.RefuseUnknownKeys();
//
// This header costs little to include; only files that look inside a json value need
// <nlohmann/json.hpp>.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace rondo {

// Throws rondo::Error naming `file` for malformed text, invalid UTF-8, arrays and objects nested
// more than 64 deep, or a key that occurs twice in one object.
nlohmann::json ParseJsonChecked(std::string_view text, const std::string& file);

// The value as JSON text for an error message, cut to 80 bytes.
std::string JsonExcerpt(const nlohmann::json& value);

// A view of one JSON object; the value must outlive it. A key with value null counts as absent.
class JsonObject {
 public:
  // `field` is where the object stands in the file; empty for the file's root. Throws if `value` is
  // no object.
  JsonObject(const nlohmann::json& value, std::string function, std::string file,
             std::string field = {});

  // All getters mark the key as known. nullptr when absent or null.
  const nlohmann::json* Find(std::string_view key);
  bool Contains(std::string_view key) const;  // true also for null
  // A value of another type is an error, and so is an absent key without fallback. Integers are
  // limited to ±2^24 (no count in a model's description is larger), numbers to ±1e30.
  int Int(std::string_view key, std::optional<int> fallback = {});
  double Number(std::string_view key, std::optional<double> fallback = {});
  bool Bool(std::string_view key, std::optional<bool> fallback = {});
  std::string String(std::string_view key, std::optional<std::string> fallback = {});
  // Empty when absent.
  std::vector<int> Ints(std::string_view key);
  std::vector<double> Numbers(std::string_view key);
  std::vector<std::string> Strings(std::string_view key);
  JsonObject Object(std::string_view key);

  // Keys that may be there and mean nothing to the caller.
  void Ignore(std::span<const std::string_view> keys);
  // Throws naming the first key that no getter asked for, with the nearest known one. A key with
  // value null is no key.
  void RefuseUnknownKeys() const;

  std::vector<std::string> Keys() const;
  [[noreturn]] void Fail(std::string_view key, std::string problem, std::string expected) const;
  const std::string& file() const { return file_; }

 private:
  const nlohmann::json& Required(std::string_view key, const char* expected);
  int ToInt(std::string_view key, const nlohmann::json& value) const;
  double ToNumber(std::string_view key, const nlohmann::json& value) const;

  const nlohmann::json* value_;
  std::string function_, file_, field_;
  std::set<std::string, std::less<>> known_;
};

}  // namespace rondo
