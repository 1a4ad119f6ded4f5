#include "rondo/error.h"

#include <utility>

namespace rondo {
namespace {

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

Error::Error(ErrorInfo info) : std::runtime_error(Describe(info)), info_(std::move(info)) {}

}  // namespace rondo
