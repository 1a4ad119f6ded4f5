// Whisper's special tokens, and which token may follow which.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "rondo/speech_model.h"
#include "rondo/tokenizer.h"

namespace rondo {

struct WhisperTokens {
  // `file` is named in errors. Throws when the tokenizer lacks one that every Whisper has.
  WhisperTokens(const Tokenizer& tokenizer, const std::string& file);

  int32_t begin, end;                // of a transcript
  int32_t transcribe, translate;     // −1 in English-only models, as languages
  int32_t no_timestamps, no_speech;  // no_speech may be −1
  int32_t first_timestamp;           // 0.00 s; 0.02 s more each
  int32_t first_language = -1, languages_end = -1;

  bool multilingual() const { return languages_end > first_language; }
  bool IsTimestamp(int32_t token) const { return token >= first_timestamp; }
};

inline constexpr double kWhisperTick = 0.02;  // seconds between timestamps, and between positions

// Sets the logits [vocab] of what may not come next to minus infinity. `text` are the tokens behind
// the prompt so far. With `timestamps`, they come in pairs and never go back, the first is at most
// 1 s, and one is taken where all of them together are likelier than any other token (OpenAI's
// ApplyTimestampRules).
void ApplyWhisperRules(const WhisperTokens& tokens, const WhisperConfig& config,
                       std::span<const int32_t> text, bool timestamps, std::span<float> logits);

}  // namespace rondo
