#include <algorithm>
#include <utility>

#include "rondo/error.h"
#include "rondo/generate.h"

namespace rondo {
namespace {

// Length of the longest suffix of `text` that begins `stop` without completing it.
size_t OverlapWith(std::string_view text, std::string_view stop) {
  for (size_t length = std::min(text.size(), stop.size() - 1); length > 0; --length) {
    if (text.substr(text.size() - length) == stop.substr(0, length)) return length;
  }
  return 0;
}

}  // namespace

StopMatcher::StopMatcher(std::vector<std::string> stops) : stops_(std::move(stops)) {
  if (std::any_of(stops_.begin(), stops_.end(), [](const auto& stop) { return stop.empty(); })) {
    throw Error({.function = "StopMatcher",
                 .problem = "empty stop string",
                 .expected = "at least one character",
                 .file = {},
                 .field = "stop"});
  }
}

std::string StopMatcher::Push(std::string_view piece) {
  if (stopped_) return {};
  held_ += piece;
  size_t first = std::string::npos;
  for (const std::string& stop : stops_) first = std::min(first, held_.find(stop));
  if (first != std::string::npos) {
    stopped_ = true;
    std::string out = held_.substr(0, first);
    held_.clear();
    return out;
  }
  size_t keep = 0;
  for (const std::string& stop : stops_) keep = std::max(keep, OverlapWith(held_, stop));
  std::string out = held_.substr(0, held_.size() - keep);
  held_.erase(0, out.size());
  return out;
}

std::string StopMatcher::Flush() { return std::exchange(held_, {}); }

}  // namespace rondo
