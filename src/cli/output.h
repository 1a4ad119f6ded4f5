// What a command reports: named values, printed as aligned text or as one JSON object.
//
//   Output out;
//   out.Add("perplexity", 18.85);
//   out.Print(common.json);
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace rondo::cli {

class Output {
 public:
  void Add(const std::string& name, double value);
  void Add(const std::string& name, int64_t value);
  void Add(const std::string& name, int value) { Add(name, int64_t{value}); }
  void Add(const std::string& name, bool value);
  void Add(const std::string& name, const std::string& value);
  void Add(const std::string& name, const char* value) { Add(name, std::string(value)); }
  // A value that is JSON already; the text form has `text`, or leaves it out.
  void AddJson(const std::string& name, const std::string& json, const std::string& text = {});
  // Leaves what was added last out of the text form: something else there shows it better.
  void HideLast();

  // Writes to standard output.
  void Print(bool json) const;
  std::string Text() const;
  std::string Json() const;

 private:
  struct Entry {
    std::string name;
    std::string text;  // empty: JSON only
    std::string json;
  };
  std::vector<Entry> entries_;
};

// Whether standard output is a terminal that takes colours. NO_COLOR, if it is set and not empty,
// says no (no-color.org).
bool WantsColor();

// "[1, 2.5, null]"; what is not finite becomes null.
std::string JsonArray(std::span<const double> values);
std::string JsonArray(std::span<const int> values);
std::string JsonArray(std::span<const Output> objects);
std::string JsonArray(std::span<const std::string> values);

}  // namespace rondo::cli
