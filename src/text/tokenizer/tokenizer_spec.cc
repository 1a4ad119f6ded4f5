#include "text/tokenizer/tokenizer_spec.h"

#include <algorithm>
#include <cmath>
#include <string_view>

#include "rondo/error.h"
#include "text/unicode/utf8.h"

namespace rondo {
namespace {

constexpr size_t kMaxAddedTokenBytes = 512;
constexpr size_t kMaxTokens = size_t{1} << 24;

class SpecChecker {
 public:
  explicit SpecChecker(const TokenizerSpec& spec) : spec_(spec), model_(spec.model) {}

  void Run() const {
    CheckTokens();
    CheckScores();
    CheckMerges();
    CheckAdded();
    for (const int32_t id : spec_.prefix) CheckId(id, "post_processor");
    for (const int32_t id : spec_.suffix) CheckId(id, "post_processor");
    for (const int32_t id : spec_.eos) CheckId(id, "eos_token");
    if (spec_.bos >= 0) CheckId(spec_.bos, "bos_token");
    if (spec_.unknown >= 0) CheckId(spec_.unknown, "unk_token");
    if (spec_.pad >= 0) CheckId(spec_.pad, "pad_token");
    if (model_.unknown >= 0) CheckId(model_.unknown, "model.unk_token");
  }

 private:
  [[noreturn]] void Fail(const std::string& field, const std::string& problem,
                         const std::string& expected = {}) const {
    throw Error({.function = "LoadTokenizer",
                 .problem = problem,
                 .expected = expected,
                 .file = spec_.file,
                 .field = field});
  }

  void CheckTokens() const {
    if (model_.tokens.empty()) Fail("vocab", "empty vocabulary");
    if (model_.tokens.size() > kMaxTokens) {
      Fail("vocab", std::to_string(model_.tokens.size()) + " tokens", "at most 2^24");
    }
    for (size_t i = 0; i < model_.tokens.size(); ++i) {
      const std::string& token = model_.tokens[i];
      if (token.empty()) continue;
      if (!IsValidUtf8(token)) Fail("vocab", "token " + std::to_string(i) + " is not UTF-8");
    }
  }

  void CheckScores() const {
    CheckLogProbabilities();
    if (!model_.UsesScores()) return;
    if (model_.scores.size() != model_.tokens.size() ||
        model_.types.size() != model_.tokens.size()) {
      Fail("scores", "scores or types are not as many as the tokens");
    }
    if (!model_.merges.empty()) Fail("merges", "both merges and scores");
    const auto finite = [](float score) { return std::isfinite(score); };
    if (!std::all_of(model_.scores.begin(), model_.scores.end(), finite)) {
      Fail("scores", "a score is not finite");
    }
  }

  void CheckLogProbabilities() const {
    const bool unigram = model_.kind == ModelKind::kUnigram;
    if (model_.log_probabilities.size() != (unigram ? model_.tokens.size() : 0)) {
      Fail("vocab", "log probabilities are not as many as the tokens");
    }
    const auto finite = [](double score) { return std::isfinite(score); };
    if (!std::all_of(model_.log_probabilities.begin(), model_.log_probabilities.end(), finite)) {
      Fail("vocab", "a log probability is not finite");
    }
  }

  void CheckMerges() const {
    const auto text = [this](int32_t id) -> std::string_view {
      const bool known = id >= 0 && static_cast<size_t>(id) < model_.tokens.size();
      return known ? std::string_view(model_.tokens[static_cast<size_t>(id)]) : std::string_view();
    };
    for (size_t i = 0; i < model_.merges.size(); ++i) {
      const std::string_view left = text(model_.merges[i].left);
      const std::string_view right = text(model_.merges[i].right);
      const std::string_view result = text(model_.merges[i].result);
      const std::string_view end =
          right.substr(std::min(right.size(), model_.subword_prefix.size()));
      if (left.empty() || right.empty() || result.size() != left.size() + end.size() ||
          !result.starts_with(left) || !result.ends_with(end)) {
        Fail("merges[" + std::to_string(i) + "]", "the merge does not make a token of its parts");
      }
    }
  }

  void CheckAdded() const {
    const size_t limit = model_.tokens.size() + spec_.added.size() + (1 << 16);
    std::vector<bool> taken(limit);
    for (const AddedToken& token : spec_.added) {
      const std::string field = "added_tokens '" + token.content.substr(0, 80) + "'";
      if (token.id < 0 || static_cast<size_t>(token.id) >= limit) {
        Fail(field, "id " + std::to_string(token.id),
             "an id near the vocabulary of " + std::to_string(model_.tokens.size()));
      }
      const auto id = static_cast<size_t>(token.id);
      if (token.content.empty() || token.content.size() > kMaxAddedTokenBytes ||
          !IsValidUtf8(token.content)) {
        Fail(field, "bad content", "UTF-8 of 1 to 512 bytes");
      }
      if (taken[id]) Fail(field, "id " + std::to_string(token.id) + " is taken twice");
      taken[id] = true;
      if (id < model_.tokens.size() && !model_.tokens[id].empty() &&
          model_.tokens[id] != token.content) {
        Fail(field, "id " + std::to_string(token.id) + " is '" + model_.tokens[id] +
                        "' in the vocabulary");
      }
    }
  }

  void CheckId(int32_t id, const std::string& field) const {
    const auto is_id = [id](const AddedToken& token) { return token.id == id; };
    const bool in_model = id >= 0 && static_cast<size_t>(id) < model_.tokens.size();
    if (!in_model && std::none_of(spec_.added.begin(), spec_.added.end(), is_id)) {
      Fail(field, "id " + std::to_string(id) + " is not in the vocabulary");
    }
  }

  const TokenizerSpec& spec_;
  const TokenModel& model_;
};

}  // namespace

void CheckSpec(const TokenizerSpec& spec) { SpecChecker(spec).Run(); }

}  // namespace rondo
