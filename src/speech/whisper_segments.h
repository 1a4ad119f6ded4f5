// What a window's tokens say about segments, and where the next window begins.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "speech/whisper_tokens.h"

namespace rondo {

struct TokenSpan {
  size_t begin, end;                  // tokens of the window, timestamps included
  double begin_seconds, end_seconds;  // from the window's beginning
};

struct WindowSegments {
  std::vector<TokenSpan> segments;
  double seconds;  // of the window that are dealt with
};

// `text` are a window's tokens without the end token, `window_seconds` of audio. Two timestamps
// side by side end a segment and begin one; what follows the last such pair is read again by the
// next window, unless a single timestamp ends the text.
WindowSegments SplitSegments(const WhisperTokens& tokens, std::span<const int32_t> text,
                             double window_seconds);

}  // namespace rondo
