#include "eval/task_rows.h"

#include <algorithm>

#include "rondo/error.h"
#include "text/jinja/jinja_library.h"

namespace rondo {
namespace {

[[noreturn]] void Fail(std::string problem, std::string expected) {
  throw Error({.function = "PairEncoder",
               .problem = std::move(problem),
               .expected = std::move(expected),
               .file = {},
               .field = {}});
}

// The token that begins a text; the harness takes the end of text where there is no beginning.
int32_t PrefixToken(const Tokenizer& tokenizer) {
  if (tokenizer.bos() >= 0) return tokenizer.bos();
  const std::vector<int32_t> eos = tokenizer.eos();
  return eos.empty() ? -1 : eos.front();
}

}  // namespace

PairEncoder::PairEncoder(const Tokenizer& tokenizer, int max_positions)
    : tokenizer_(tokenizer),
      max_positions_(static_cast<size_t>(max_positions)),
      prefix_(PrefixToken(tokenizer)) {
  if (prefix_ >= 0) prefix_text_ = tokenizer.Decode({&prefix_, 1}, /*skip_special=*/false);
}

std::vector<int32_t> PairEncoder::EncodeText(const std::string& text) const {
  const bool has_prefix = !prefix_text_.empty() && text.starts_with(prefix_text_);
  return tokenizer_.Encode(text, {.add_special = !has_prefix, .parse_special = true});
}

TokenRow PairEncoder::EncodeWithoutContext(const std::string& continuation) const {
  if (prefix_ < 0) Fail("an empty context", "a tokenizer with a token that begins or ends texts");
  TokenRow row{
      .input = {prefix_},
      .targets = tokenizer_.Encode(continuation, {.add_special = false, .parse_special = true})};
  if (!row.targets.empty() && row.targets.front() == prefix_)
    row.targets.erase(row.targets.begin());
  return row;
}

TokenRow PairEncoder::EncodePair(const ContinuationText& request) {
  const std::string context =
      jinja::StripText(request.context, jinja::Value(jinja::None{}), false, true);
  if (context.empty()) return EncodeWithoutContext(request.context + request.continuation);
  if (context != context_) {
    context_tokens_ = EncodeText(context).size();
    context_ = context;
  }
  const std::vector<int32_t> whole = EncodeText(request.context + request.continuation);
  const auto split =
      whole.begin() + static_cast<std::ptrdiff_t>(std::min(context_tokens_, whole.size()));
  return {.input = {whole.begin(), split}, .targets = {split, whole.end()}};
}

TokenRows PairEncoder::Encode(std::span<const ContinuationText> requests) {
  TokenRows rows;
  for (const ContinuationText& request : requests) {
    TokenRow row = EncodePair(request);
    if (row.targets.empty()) {
      Fail("the continuation '" + request.continuation + "' has no token of its own",
           "a text that adds tokens to its context");
    }
    if (row.targets.size() > max_positions_) {
      Fail("a continuation of " + std::to_string(row.targets.size()) + " tokens",
           "at most the model's " + std::to_string(max_positions_) + " positions");
    }
    row.input.insert(row.input.end(), row.targets.begin(), row.targets.end() - 1);
    if (row.input.size() > max_positions_) {
      row.input.erase(row.input.begin(),
                      row.input.end() - static_cast<std::ptrdiff_t>(max_positions_));
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

}  // namespace rondo
