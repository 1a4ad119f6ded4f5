#include "cli/output.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "base/strings.h"

namespace rondo::cli {
namespace {

// JSON has no infinities; a perplexity may overflow to one.
std::string NumberJson(double value) {
  return std::isfinite(value) ? nlohmann::json(value).dump() : "null";
}

std::string StringJson(const std::string& value) {
  using Handler = nlohmann::json::error_handler_t;
  return nlohmann::json(value).dump(-1, ' ', false, Handler::replace);
}

template <typename T, typename ToJson>
std::string ArrayOf(std::span<const T> values, const ToJson& to_json) {
  std::vector<std::string> parts;
  for (const T& value : values) parts.push_back(to_json(value));
  return "[" + Join(parts, ", ") + "]";
}

}  // namespace

void Output::Add(const std::string& name, double value) {
  char text[40];
  std::snprintf(text, sizeof(text), "%.6g", value);
  entries_.push_back({name, text, NumberJson(value)});
}

void Output::Add(const std::string& name, int64_t value) {
  entries_.push_back({name, WithThousands(value), std::to_string(value)});
}

void Output::Add(const std::string& name, bool value) {
  entries_.push_back({name, value ? "yes" : "no", value ? "true" : "false"});
}

void Output::Add(const std::string& name, const std::string& value) {
  entries_.push_back({name, value.empty() ? "-" : value, StringJson(value)});
}

void Output::AddJson(const std::string& name, const std::string& json, const std::string& text) {
  entries_.push_back({name, text, json});
}

void Output::HideLast() { entries_.back().text.clear(); }

void Output::Print(bool json) const {
  const std::string text = json ? Json() + "\n" : Text();
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

std::string Output::Text() const {
  size_t width = 0;
  for (const Entry& entry : entries_) {
    if (!entry.text.empty()) width = std::max(width, entry.name.size());
  }
  std::string text;
  for (const Entry& entry : entries_) {
    if (entry.text.empty()) continue;
    std::string label = entry.name;
    std::replace(label.begin(), label.end(), '_', ' ');
    label.resize(width, ' ');
    text += label + "  " + entry.text + "\n";
  }
  return text;
}

std::string Output::Json() const {
  std::string text = "{";
  for (const Entry& entry : entries_) {
    if (text.size() > 1) text += ", ";
    text += nlohmann::json(entry.name).dump() + ": " + entry.json;
  }
  return text + "}";
}

bool WantsColor() {
  const char* refused = std::getenv("NO_COLOR");
  return isatty(STDOUT_FILENO) == 1 && (refused == nullptr || *refused == '\0');
}

std::string JsonArray(std::span<const double> values) { return ArrayOf(values, NumberJson); }

std::string JsonArray(std::span<const int> values) {
  return ArrayOf(values, [](int value) { return std::to_string(value); });
}

std::string JsonArray(std::span<const std::string> values) { return ArrayOf(values, StringJson); }

std::string JsonArray(std::span<const Output> objects) {
  return ArrayOf(objects, [](const Output& object) { return object.Json(); });
}

}  // namespace rondo::cli
