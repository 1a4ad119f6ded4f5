#include <string_view>

#include "base/hash.h"
#include "corpus/token_data.h"

namespace rondo {
namespace {

// What tokenizers with one vocabulary differ in: spaces, digits, case, line breaks, contractions,
// composed characters, scripts, unknown characters, merges of long and rare words.
constexpr std::string_view kProbe =
    " The  quick brown fox's 12345 jumps,\n\n\tover 3.14 LAZY dogs' tails…\r\n"
    "def f(x_1): return x**2 != y[0]  # näïve café ﬁ e\u0301 Ǆ\n"
    "Être, Straße, Привет мир, 你好世界, こんにちは, مرحبا, हिन्दी, "
    "👩‍👩‍👧 "
    "\u200b\u3000"
    " antidisestablishmentarianism internationalization supercalifragilistic  xqzjv";

}  // namespace

uint64_t TokenizerFingerprint(const Tokenizer& tokenizer) {
  uint64_t hash = CombineHash(0, static_cast<uint64_t>(tokenizer.vocab_size()));
  for (int32_t id = 0; id < tokenizer.vocab_size(); ++id) {
    hash = CombineHash(hash, HashText(tokenizer.Decode({&id, 1}, false)));
  }
  for (const int32_t id : tokenizer.Encode(kProbe)) {
    hash = CombineHash(hash, static_cast<uint64_t>(id));
  }
  const std::vector<int32_t> eos = tokenizer.eos();
  return CombineHash(hash, eos.empty() ? ~uint64_t{0} : static_cast<uint64_t>(eos.front()));
}

}  // namespace rondo
