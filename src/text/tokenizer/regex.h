// The regular expressions of tokenizer files: Oniguruma syntax as Hugging Face `tokenizers` uses
// it, run by PCRE2. Only the part of the syntax that means the same in both is accepted (\s, \d and
// \p{..} are translated to Oniguruma's meaning and Unicode version); everything else is refused by
// name.
#pragma once

#include <memory>
#include <string>
#include <string_view>

namespace rondo {

class Regex {
 public:
  // Throws naming `file`, `field` and the part of the pattern that is not supported.
  Regex(const std::string& pattern, const std::string& file, const std::string& field);
  ~Regex();
  Regex(Regex&&) noexcept;

  // Finds matches one after the other; cheap to make, belongs to one thread.
  class Matcher {
   public:
    explicit Matcher(const Regex& regex);
    ~Matcher();
    Matcher(Matcher&&) noexcept;
    // The first match in valid UTF-8 `text` at or after `start`. Throws if the pattern takes
    // unreasonably many steps.
    bool Search(std::string_view text, size_t start, size_t& begin, size_t& end);

   private:
    struct State;
    std::unique_ptr<State> state_;
  };

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace rondo
