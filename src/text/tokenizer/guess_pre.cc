// Which pre-tokenizer a vocabulary was made with, when its file does not say.
#include <algorithm>
#include <string>
#include <utility>

#include "base/warn.h"
#include "rondo/error.h"
#include "rondo/tokenizer.h"
#include "text/tokenizer/byte_level.h"
#include "text/tokenizer/gguf_pre.h"
#include "text/tokenizer/pre_tokenizer.h"
#include "text/unicode/utf8.h"

namespace rondo {
namespace {

std::string& ProcessPre() {
  static std::string name;
  return name;
}

class WordCounter final : public WordEncoder {
 public:
  void Encode(std::string_view) override { ++words; }
  int words = 0;
};

// Texts of tokens that merges made, at most 8192 of them, spread evenly.
std::vector<std::string> MergedTexts(const TokenModel& model) {
  constexpr size_t kMost = 8192;
  std::vector<std::string> texts;
  const size_t stride = model.merges.size() / kMost + 1;
  for (size_t i = 0; i < model.merges.size(); i += stride) {
    const auto id = static_cast<size_t>(model.merges[i].result);
    const auto text = FromByteLevel(model.tokens[id]);
    if (text && IsValidUtf8(*text)) texts.push_back(*text);
  }
  return texts;
}

// Merges never cross the border of a word: tokens that this pre-tokenizer cuts speak against it.
size_t CutTokens(const GgufPre& pre, const std::vector<std::string>& texts) {
  const PreTokenizer rules(pre.pre_tokenizers, {});
  size_t cut = 0;
  for (const std::string& text : texts) {
    WordCounter counter;
    PreTokenizer::Run(rules, counter).Words(text, true);
    cut += counter.words > 1 ? 1 : 0;
  }
  return cut;
}

bool HasAll(const TokenModel& model, const std::vector<std::string_view>& marks) {
  return !marks.empty() && std::ranges::all_of(marks, [&](std::string_view mark) {
    return std::ranges::find(model.tokens, mark) != model.tokens.end();
  });
}

struct Guess {
  const GgufPre* pre;
  const char* reason;  // nullptr: nothing tells
};

// What speaks against a pre-tokenizer: the tokens that it cuts, if more than `few`; and in a large
// vocabulary the long numbers that it leaves whole, since one that cuts them has a smaller choice.
std::pair<size_t, size_t> Misfit(const GgufPre& pre, const std::vector<std::string>& texts,
                                 size_t few, bool large) {
  static const std::vector<std::string> kNumbers = {"12", "1234"};
  const size_t cut = CutTokens(pre, texts);
  return {cut <= few ? 0 : cut, large ? kNumbers.size() - CutTokens(pre, kNumbers) : 0};
}

Guess ByVocabulary(const std::vector<std::string>& texts, size_t few) {
  constexpr size_t kLarge = 4096;
  const bool large = texts.size() >= kLarge;
  std::vector<std::pair<size_t, size_t>> misfits;
  for (const GgufPre& pre : GgufPres()) {
    misfits.push_back(Misfit(pre, texts, large ? few / 2 : 0, large));
  }
  const auto least = std::ranges::min_element(misfits);
  const GgufPre& best = GgufPres()[static_cast<size_t>(least - misfits.begin())];
  bool clear = large && least->first == 0;
  for (size_t i = 0; i < misfits.size(); ++i) {
    const bool same = GgufPres()[i].pre_tokenizers == best.pre_tokenizers;
    clear = clear && (same || misfits[i] > *least);
  }
  return {&best, clear ? "its vocabulary says" : nullptr};
}

Guess GuessPre(const std::string& architecture, const TokenizerSpec& spec) {
  const std::vector<std::string> texts = MergedTexts(spec.model);
  const auto best_of = [&](const auto& accepts) {
    const GgufPre* best = nullptr;
    size_t fewest = texts.size() + 1;
    for (const GgufPre& pre : GgufPres()) {
      if (!accepts(pre)) continue;
      const size_t cut = CutTokens(pre, texts);
      if (cut < fewest) best = &pre;
      fewest = std::min(fewest, cut);
    }
    return std::pair(best, fewest);
  };
  const size_t few = texts.size() / 100;  // tokens of odd provenance
  const auto [marked, marked_cut] =
      best_of([&](const GgufPre& pre) { return HasAll(spec.model, pre.marks); });
  if (marked != nullptr && marked_cut <= few) return {marked, "its special tokens say"};
  const auto [native, native_cut] = best_of([&](const GgufPre& pre) {
    return std::ranges::find(pre.architectures, architecture) != pre.architectures.end();
  });
  if (native != nullptr && native_cut <= few) return {native, "its architecture says"};
  return ByVocabulary(texts, few);
}

}  // namespace

void SetPreTokenizer(const std::string& name) {
  if (!name.empty() && FindGgufPre(name) == nullptr) {
    throw Error({.function = "SetPreTokenizer",
                 .problem = "unknown pre-tokenizer '" + name + "'",
                 .expected = "one of " + KnownGgufPres(),
                 .field = "--pre-tokenizer"});
  }
  ProcessPre() = name;
}

const GgufPre& ChooseGgufPre(const std::string& named, const std::string& architecture,
                             const TokenizerSpec& spec) {
  // "default" is what converters wrote for vocabularies that they did not know.
  const bool unnamed = named.empty() || named == "default";
  if (const GgufPre* pre = FindGgufPre(named)) return *pre;
  if (const GgufPre* pre = FindGgufPre(ProcessPre())) return *pre;
  if (!unnamed) {
    throw Error({.function = "LoadTokenizer",
                 .problem = "pre-tokenizer '" + named + "' is not supported",
                 .expected = "one of " + KnownGgufPres(),
                 .file = spec.file,
                 .field = "tokenizer.ggml.pre"});
  }
  const Guess guess = GuessPre(architecture, spec);
  const std::string name(guess.pre->names[0]);
  const bool gguf = !spec.file.ends_with(".json");
  const std::string missing = spec.file + ": no file names the pre-tokenizer (" +
                              (gguf ? "tokenizer.ggml.pre" : "tokenizer_class") + ")";
  if (guess.reason != nullptr) {
    Note("note: " + missing + "; " + guess.reason + " " + name);
  } else {
    Note("WARNING: " + missing +
         ", and nothing tells which one the model was trained with. Taking " + name +
         "; if that is wrong, so are the tokens, and the model is worse than it could be. " +
         "--pre-tokenizer names it: " + KnownGgufPres());
  }
  return *guess.pre;
}

}  // namespace rondo
