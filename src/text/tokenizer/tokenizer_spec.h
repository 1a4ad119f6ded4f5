// A tokenizer as plain data, whatever file it came from. The structure follows tokenizer.json of
// the Hugging Face `tokenizers` library: text is cut at added tokens, normalised, cut into words
// (pre-tokenised), each word cut into tokens by the model, and the ids framed by the
// post-processor.
// SentencePiece, GGUF and llama2.c vocabularies are read into the same structure.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

namespace rondo {

// U+2581, which stands for a space in SentencePiece vocabularies.
inline constexpr char kMetaspace[] = "\xE2\x96\x81";

struct TextPattern {
  std::string text;
  bool is_regex = false;  // Oniguruma syntax
  bool operator==(const TextPattern&) const = default;
};

// Normalizers.
struct UnicodeForm {
  enum Form { kNfc, kNfd, kNfkc, kNfkd } form = kNfc;
  bool operator==(const UnicodeForm&) const = default;
};
struct PrependText {  // unless the text is empty
  std::string text;
  bool operator==(const PrependText&) const = default;
};
struct ReplaceText {  // also a decoder
  TextPattern pattern;
  std::string content;
  bool operator==(const ReplaceText&) const = default;
};
struct StripSpace {
  bool left = true;
  bool right = true;
  bool operator==(const StripSpace&) const = default;
};
struct LowercaseText {
  bool operator==(const LowercaseText&) const = default;
};
struct StripAccents {  // combining marks go
  bool operator==(const StripAccents&) const = default;
};
struct CleanForTraining {  // SentencePiece's "nmt" rules: control characters go, odd spaces change
  bool operator==(const CleanForTraining&) const = default;
};
struct BertText {
  bool clean = true;
  bool separate_ideographs = true;
  bool strip_accents = true;
  bool lowercase = true;
  bool operator==(const BertText&) const = default;
};
using NormalizerStep = std::variant<UnicodeForm, PrependText, ReplaceText, StripSpace,
                                    LowercaseText, StripAccents, CleanForTraining, BertText>;

// Pre-tokenizers.
enum class SplitBehavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };
struct SplitAt {
  TextPattern pattern;
  SplitBehavior behavior = SplitBehavior::kIsolated;
  bool invert = false;
  bool operator==(const SplitAt&) const = default;
};
struct SplitDigits {
  bool individual = false;
  bool operator==(const SplitDigits&) const = default;
};
struct SplitWords {             // at white space, which goes
  bool at_punctuation = false;  // and between letters, digits, marks and anything else
  bool operator==(const SplitWords&) const = default;
};
struct SplitPunctuation {
  SplitBehavior behavior = SplitBehavior::kIsolated;
  bool operator==(const SplitPunctuation&) const = default;
};
struct ByteLevelWords {  // always the last step: words are bytes from here on
  bool add_prefix_space = false;
  bool use_regex = true;  // cut by GPT-2's pattern first
  bool operator==(const ByteLevelWords&) const = default;
};
struct MetaspaceWords {
  enum Prepend { kAlways, kFirst, kNever } prepend = kAlways;
  bool split = true;
  bool operator==(const MetaspaceWords&) const = default;
};
using PreTokenizerStep = std::variant<SplitAt, SplitDigits, SplitWords, SplitPunctuation,
                                      ByteLevelWords, MetaspaceWords>;

// Decoders, besides ReplaceText.
struct DecodeByteLevel {};
struct DecodeByteFallback {};
struct DecodeFuse {};
struct DecodeStrip {
  std::string content;  // one character
  int start = 0;        // at most so many are removed at the start
  int stop = 0;
};
struct DecodeMetaspace {
  bool strip_first =
      true;  // the first token loses its metaspaces instead of turning them to spaces
};
struct DecodeWordPiece {  // tokens without the prefix begin a word
  std::string prefix = "##";
  bool cleanup = true;  // "do n't stop ." becomes "don't stop."
};
struct DecodeWordEnds {  // the suffix ends a word
  std::string suffix = "</w>";
};
using DecoderStep = std::variant<ReplaceText, DecodeByteLevel, DecodeByteFallback, DecodeFuse,
                                 DecodeStrip, DecodeMetaspace, DecodeWordPiece, DecodeWordEnds>;

struct AddedToken {
  std::string content;
  int32_t id = -1;
  bool special = false;
  bool single_word = false;
  bool lstrip = false;
  bool rstrip = false;
  bool normalized = false;  // found in normalised text instead of raw text
};

// Values of GGUF's tokenizer.ggml.token_type and of SentencePiece's piece types.
enum class TokenType { kNormal = 1, kUnknown, kControl, kUserDefined, kUnused, kByte };

struct Merge {
  int32_t left = -1;
  int32_t right = -1;
  int32_t result = -1;
};

enum class ModelKind {
  kBpe,        // neighbours merge, the best pair first
  kUnigram,    // the most probable cut (Kudo 2018)
  kWordPiece,  // the longest token first (Schuster and Nakajima 2012)
};

struct TokenModel {
  ModelKind kind = ModelKind::kBpe;
  std::vector<std::string>
      tokens;                 // by id; "" is an id without token. Of equal ones the first counts
  std::vector<Merge> merges;  // best first; empty when `scores` decide
  // SentencePiece vocabularies: neighbours merge into any token, the best score first. The types
  // say which tokens text can become; user-defined ones are found first and never merged.
  std::vector<float> scores;
  std::vector<double> log_probabilities;  // kUnigram, by id
  std::string subword_prefix;             // of tokens inside a word
  std::string word_suffix;                // kBpe: of tokens that end a word
  int longest_word = 100;                 // kWordPiece: characters; longer words are unknown
  std::vector<TokenType> types;
  int32_t unknown = -1;
  bool fuse_unknown = false;
  bool byte_fallback = false;
  bool ignore_merges = false;  // a word that is a token is that token

  bool UsesScores() const { return !scores.empty(); }
};

struct TokenizerSpec {
  std::string file;  // for messages
  TokenModel model;
  std::vector<AddedToken> added;
  std::vector<NormalizerStep> normalizers;
  std::vector<PreTokenizerStep> pre_tokenizers;
  std::vector<DecoderStep> decoders;  // none: tokens are joined by spaces
  std::vector<int32_t> prefix;        // the post-processor's frame around one text
  std::vector<int32_t> suffix;

  int32_t bos = -1;
  std::vector<int32_t> eos;  // any of them ends a text; the first is the one to write
  int32_t unknown = -1;
  int32_t pad = -1;
  std::string chat_template;
  std::vector<std::string> other_templates;  // names of templates besides, which nobody asks for

  bool ByteLevel() const {
    return !pre_tokenizers.empty() && std::holds_alternative<ByteLevelWords>(pre_tokenizers.back());
  }
};

// Checks that ids, merges and added tokens fit each other; throws naming the field.
void CheckSpec(const TokenizerSpec& spec);

}  // namespace rondo
