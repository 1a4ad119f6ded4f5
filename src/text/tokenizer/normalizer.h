// Normalisation of text before pre-tokenization.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer/regex.h"
#include "text/tokenizer/tokenizer_spec.h"

namespace rondo {

// Unicode normalisation as of Unicode 9.0, which is what Hugging Face `tokenizers` has.
std::string NormalizeUnicode(std::string_view text, UnicodeForm::Form form);

// Replaces the matches of a pattern.
class Replacer {
 public:
  Replacer(const ReplaceText& step, const std::string& file, const std::string& field);
  std::string Apply(std::string_view text) const;

 private:
  ReplaceText step_;
  std::optional<Regex> regex_;
};

class Normalizer {
 public:
  Normalizer(const std::vector<NormalizerStep>& steps, const std::string& file);
  bool empty() const { return steps_.empty(); }
  // `text` must be valid UTF-8.
  std::string Apply(std::string_view text) const;

 private:
  using Step = std::variant<UnicodeForm, PrependText, Replacer, StripSpace, LowercaseText,
                            StripAccents, CleanForTraining, BertText>;
  std::vector<Step> steps_;
};

}  // namespace rondo
