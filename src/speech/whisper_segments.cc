#include "speech/whisper_segments.h"

#include <algorithm>

namespace rondo {

WindowSegments SplitSegments(const WhisperTokens& t, std::span<const int32_t> text,
                             double window_seconds) {
  const auto seconds = [&](size_t at) { return (text[at] - t.first_timestamp) * kWhisperTick; };
  std::vector<size_t> ends;
  for (size_t i = 1; i < text.size(); ++i) {
    if (t.IsTimestamp(text[i - 1]) && t.IsTimestamp(text[i])) ends.push_back(i);
  }
  WindowSegments result{.segments = {}, .seconds = window_seconds};
  const size_t size = text.size();
  const bool closed = size >= 2 && !t.IsTimestamp(text[size - 2]) && t.IsTimestamp(text[size - 1]);
  if (ends.empty()) {
    double end = window_seconds;
    const auto last = std::find_if(text.rbegin(), text.rend(),
                                   [&](int32_t token) { return t.IsTimestamp(token); });
    if (last != text.rend() && *last != t.first_timestamp) {
      end = (*last - t.first_timestamp) * kWhisperTick;
    }
    if (size > 0) result.segments.push_back({0, size, 0, end});
    return result;
  }
  if (closed) ends.push_back(size);
  size_t begin = 0;
  for (const size_t end : ends) {
    result.segments.push_back({begin, end, seconds(begin), seconds(end - 1)});
    begin = end;
  }
  if (!closed) result.seconds = seconds(ends.back() - 1);
  return result;
}

}  // namespace rondo
