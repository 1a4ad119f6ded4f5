// When words were said, out of cross-attention (OpenAI's find_alignment).
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "rondo/tokenizer.h"
#include "rondo/transcribe.h"
#include "speech/decoder.h"

namespace rondo {

// The cheapest path through cost [rows, columns] from the first cell to the last by steps down,
// right and both (dynamic time warping): the column in which each row begins, [rows].
std::vector<int64_t> WarpRows(std::span<const float> cost, int64_t rows, int64_t columns);

// Standard scores over tokens, a median of 7 along positions, and the mean over heads, of attention
// [heads, tokens, positions]: [tokens, positions].
std::vector<float> SharpenAttention(std::span<const float> attention, int64_t heads, int64_t tokens,
                                    int64_t positions);

struct AlignmentInput {
  std::span<const int32_t> prompt;            // up to and with <|notimestamps|>
  std::span<const int32_t> text;              // without timestamps
  int32_t end_token;                          // closes the text
  std::span<const std::array<int, 2>> heads;  // depth and head of cross-attention
  int64_t positions;                          // of the utterance, without what fills it up
  double seconds_per_position;
};

// The position at which each token of the text begins, and that of its end: [text + 1] seconds.
std::vector<double> TokenTimes(const SpeechDecoder& decoder, const DecoderMemory& memory,
                               const AlignmentInput& input);

// Tokens to words: a space begins one. times [tokens + 1].
std::vector<Word> WordsOf(const Tokenizer& tokenizer, std::span<const int32_t> tokens,
                          std::span<const double> times);

}  // namespace rondo
