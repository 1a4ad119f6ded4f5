// The best text of an attention decoder.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "rondo/recognizer.h"
#include "speech/ctc_search.h"
#include "speech/decoder.h"

namespace rondo {

// A beam of texts that begin with `first` and end with kEndUnit; log_p counts `length_bonus` for
// every unit. The most probable finished text, without both.
Prefix SearchAttention(const SpeechDecoder& decoder, const DecoderMemory& memory, int32_t first,
                       const SearchOptions& options);

// Log-probability of a whole text, its end included.
double ScoreText(const SpeechDecoder& decoder, const DecoderMemory& memory, int32_t first,
                 std::span<const int32_t> units);

}  // namespace rondo
