// Typed access to the metadata of a GgufFile.
#include <array>
#include <utility>

#include "formats/gguf.h"
#include "rondo/error.h"

namespace rondo {
namespace {

constexpr std::array<const char*, std::variant_size_v<GgufValue>> kTypeNames = {
    "an integer",
    "an integer",
    "a float",
    "a boolean",
    "a string",
    "an array of integers",
    "an array of floats",
    "an array of booleans",
    "an array of strings"};

[[noreturn]] void FailType(const GgufFile& file, std::string_view key, const GgufValue& value,
                           const char* expected) {
  throw Error({.function = "GgufFile",
               .problem = std::string("is ") + kTypeNames[value.index()],
               .expected = expected,
               .file = file.path(),
               .field = std::string(key)});
}

const GgufValue* FindValue(const GgufFile& file, std::string_view key) {
  const auto found = file.metadata().find(key);
  return found == file.metadata().end() ? nullptr : &found->second;
}

const GgufValue& GetValue(const GgufFile& file, std::string_view key) {
  if (const GgufValue* value = FindValue(file, key)) return *value;
  throw Error({.function = "GgufFile",
               .problem = "missing metadata key",
               .expected = {},
               .file = file.path(),
               .field = std::string(key)});
}

int64_t AsInt(const GgufFile& file, std::string_view key, const GgufValue& value) {
  if (const auto* v = std::get_if<int64_t>(&value)) return *v;
  if (const auto* v = std::get_if<uint64_t>(&value); v != nullptr && std::in_range<int64_t>(*v)) {
    return static_cast<int64_t>(*v);
  }
  FailType(file, key, value, "an integer below 2^63");
}

double AsFloat(const GgufFile& file, std::string_view key, const GgufValue& value) {
  if (const auto* v = std::get_if<double>(&value)) return *v;
  if (const auto* v = std::get_if<int64_t>(&value)) return static_cast<double>(*v);
  if (const auto* v = std::get_if<uint64_t>(&value)) return static_cast<double>(*v);
  FailType(file, key, value, "a number");
}

template <typename T>
const T& As(const GgufFile& file, std::string_view key, const GgufValue& value,
            const char* expected) {
  if (const T* v = std::get_if<T>(&value)) return *v;
  FailType(file, key, value, expected);
}

}  // namespace

bool GgufFile::Has(std::string_view key) const { return metadata_.contains(key); }

int64_t GgufFile::Int(std::string_view key) const {
  return AsInt(*this, key, GetValue(*this, key));
}

int64_t GgufFile::Int(std::string_view key, int64_t fallback) const {
  const GgufValue* value = FindValue(*this, key);
  return value == nullptr ? fallback : AsInt(*this, key, *value);
}

double GgufFile::Float(std::string_view key) const {
  return AsFloat(*this, key, GetValue(*this, key));
}

double GgufFile::Float(std::string_view key, double fallback) const {
  const GgufValue* value = FindValue(*this, key);
  return value == nullptr ? fallback : AsFloat(*this, key, *value);
}

bool GgufFile::Bool(std::string_view key, bool fallback) const {
  const GgufValue* value = FindValue(*this, key);
  return value == nullptr ? fallback : As<bool>(*this, key, *value, "a boolean");
}

const std::string& GgufFile::String(std::string_view key) const {
  return As<std::string>(*this, key, GetValue(*this, key), "a string");
}

std::string GgufFile::String(std::string_view key, const std::string& fallback) const {
  const GgufValue* value = FindValue(*this, key);
  return value == nullptr ? fallback : As<std::string>(*this, key, *value, "a string");
}

const std::vector<std::string_view>& GgufFile::Strings(std::string_view key) const {
  return As<std::vector<std::string_view>>(*this, key, GetValue(*this, key), "an array of strings");
}

const std::vector<int64_t>& GgufFile::Ints(std::string_view key) const {
  return As<std::vector<int64_t>>(*this, key, GetValue(*this, key), "an array of integers");
}

const std::vector<double>& GgufFile::Floats(std::string_view key) const {
  return As<std::vector<double>>(*this, key, GetValue(*this, key), "an array of floats");
}

}  // namespace rondo
