// Cuts normalised text into the words that the model cuts into tokens.
#pragma once

#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer/regex.h"
#include "text/tokenizer/tokenizer_spec.h"
#include "text/tokenizer/word_model.h"

namespace rondo {

class PreTokenizer {
 public:
  PreTokenizer(const std::vector<PreTokenizerStep>& steps, const std::string& file);

  // Cuts texts and hands their words to an encoder. Belongs to one Encode call.
  class Run {
   public:
    Run(const PreTokenizer& rules, WordEncoder& session);
    // `is_start`: nothing precedes the text. `text` must be valid UTF-8 and stay where it is as
    // long as the session remembers words.
    void Words(std::string_view text, bool is_start);

   private:
    void Step(size_t index, std::string_view text, bool is_start);
    void Split(size_t index, const SplitAt& step, std::string_view text, bool is_start);
    void ByPattern(size_t index, std::string_view text, bool is_start);
    void Digits(size_t index, bool individual, std::string_view text, bool is_start);
    template <typename ClassOf>
    void ByClass(size_t index, const ClassOf& class_of, SplitBehavior behavior,
                 std::string_view text, bool is_start);
    void Metaspace(size_t index, const MetaspaceWords& step, std::string_view text, bool is_start);
    std::string_view Keep(std::string text);

    const PreTokenizer& rules_;
    WordEncoder& session_;
    std::vector<std::optional<Regex::Matcher>> matchers_;  // by step
    std::deque<std::string> kept_;                         // words that are not part of the text
  };

 private:
  std::vector<PreTokenizerStep> steps_;
  std::vector<std::optional<Regex>> regexes_;  // by step
};

}  // namespace rondo
