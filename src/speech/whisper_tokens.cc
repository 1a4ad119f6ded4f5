#include "speech/whisper_tokens.h"

#include <algorithm>
#include <limits>

#include "kernels/log_softmax.h"
#include "rondo/error.h"

namespace rondo {
namespace {

constexpr float kNever = -std::numeric_limits<float>::infinity();
constexpr int32_t kLatestFirst = 50;  // 1 s

void Forbid(std::span<float> logits, int64_t first, int64_t end) {
  end = std::min<int64_t>(end, std::ssize(logits));
  if (first < end) std::fill(logits.begin() + first, logits.begin() + end, kNever);
}

void ForbidUnpaired(const WhisperTokens& t, std::span<const int32_t> text,
                    std::span<float> logits) {
  const int64_t all = std::ssize(logits);
  const bool last = !text.empty() && t.IsTimestamp(text.back());
  const bool before = text.size() < 2 || t.IsTimestamp(text[text.size() - 2]);
  if (last && before) Forbid(logits, t.first_timestamp, all);
  if (last && !before) Forbid(logits, 0, t.end);
  const auto newest =
      std::find_if(text.rbegin(), text.rend(), [&](int32_t token) { return t.IsTimestamp(token); });
  if (newest == text.rend()) return;
  // The end of a segment may be its beginning's time no more, that of the next may be this end's.
  Forbid(logits, t.first_timestamp, *newest + (last && !before ? 0 : 1));
}

}  // namespace

WhisperTokens::WhisperTokens(const Tokenizer& tokenizer, const std::string& file) {
  const auto need = [&](const char* name) {
    const int32_t id = tokenizer.TokenId(name);
    if (id >= 0) return id;
    throw Error({.function = "WhisperTokens",
                 .problem = std::string("no token ") + name,
                 .expected = "Whisper's tokenizer",
                 .file = file});
  };
  begin = need("<|startoftranscript|>");
  end = need("<|endoftext|>");
  no_timestamps = need("<|notimestamps|>");
  first_timestamp = no_timestamps + 1;
  transcribe = tokenizer.TokenId("<|transcribe|>");
  translate = tokenizer.TokenId("<|translate|>");
  no_speech = tokenizer.TokenId("<|nospeech|>");
  if (no_speech < 0) no_speech = tokenizer.TokenId("<|nocaptions|>");
  if (tokenizer.TokenId("<|en|>") != begin + 1) return;
  first_language = begin + 1;
  languages_end = std::min(need("<|transcribe|>"), need("<|translate|>"));
}

void ApplyWhisperRules(const WhisperTokens& t, const WhisperConfig& config,
                       std::span<const int32_t> text, bool timestamps, std::span<float> logits) {
  for (const int token : config.suppress) logits[static_cast<size_t>(token)] = kNever;
  if (text.empty()) {
    for (const int token : config.suppress_first) logits[static_cast<size_t>(token)] = kNever;
  }
  Forbid(logits, t.no_timestamps, t.no_timestamps + 1);
  if (!timestamps) return Forbid(logits, t.first_timestamp, std::ssize(logits));
  ForbidUnpaired(t, text, logits);
  if (text.empty()) {
    Forbid(logits, 0, t.first_timestamp);
    Forbid(logits, t.first_timestamp + kLatestFirst + 1, std::ssize(logits));
  }
  const auto first = static_cast<size_t>(t.first_timestamp);
  if (first >= logits.size()) return;
  if (LogSumExp(logits.subspan(first)) > *std::ranges::max_element(logits.first(first))) {
    Forbid(logits, 0, t.first_timestamp);
  }
}

}  // namespace rondo
