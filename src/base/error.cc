#include "rondo/error.h"

#include <utility>

namespace rondo {
namespace {

// Names out of a hostile file must not steer the terminal that prints them, nor cut the message
// short.
std::string Printable(const std::string& text) {
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    const bool control = (byte < 0x20 && c != '\n' && c != '\t') || byte == 0x7f;
    if (control) {
      constexpr char kHex[] = "0123456789abcdef";
      out += {'\\', 'x', kHex[byte >> 4], kHex[byte & 15]};
    } else {
      out += c;
    }
  }
  return out;
}

std::string Describe(const ErrorInfo& info) {
  std::string text;
  for (const std::string* part : {&info.file, &info.field}) {
    if (!part->empty()) text += *part + ": ";
  }
  text += info.problem;
  if (!info.expected.empty()) text += " (expected " + info.expected + ")";
  if (!info.function.empty()) text += " [" + info.function + "]";
  return text;
}

}  // namespace

Error::Error(ErrorInfo info)
    : std::runtime_error(Printable(Describe(info))), info_(std::move(info)) {}

}  // namespace rondo
