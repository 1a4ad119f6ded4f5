#include <array>
#include <cmath>
#include <map>
#include <vector>

#include "eval/text_metrics.h"
#include "eval/text_pieces.h"
#include "rondo/error.h"

namespace rondo {
namespace {

template <typename T>
using NGrams = std::map<std::vector<T>, int64_t>;

template <typename T>
NGrams<T> NGramsOf(const std::vector<T>& items, size_t n) {
  NGrams<T> counts;
  for (size_t i = 0; i + n <= items.size(); ++i) {
    ++counts[std::vector<T>(items.begin() + static_cast<int64_t>(i),
                            items.begin() + static_cast<int64_t>(i + n))];
  }
  return counts;
}

// What both have, each n-gram at most as often as in either.
template <typename T>
int64_t Common(const NGrams<T>& a, const NGrams<T>& b) {
  int64_t common = 0;
  for (const auto& [gram, count] : a) {
    const auto found = b.find(gram);
    if (found != b.end()) common += std::min(count, found->second);
  }
  return common;
}

void ReplaceEvery(std::string& text, std::string_view from, std::string_view to) {
  text = ReplaceAll(text, from, to);
}

bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsStop(char c) { return c == '.' || c == ','; }

bool IsPunctuation(char c) {
  return (c >= '{' && c <= '~') || (c >= '[' && c <= '`') || (c >= ' ' && c <= '&') ||
         (c >= '(' && c <= '+') || (c >= ':' && c <= '@') || c == '/';
}

// Rewrites every two neighbours that `matches`, left to right, as `write` has them.
template <typename Matches, typename Write>
std::string RewritePairs(const std::string& text, const Matches& matches, const Write& write) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (i + 1 < text.size() && matches(text[i], text[i + 1])) {
      write(text[i], text[i + 1], out);
      ++i;
    } else {
      out += text[i];
    }
  }
  return out;
}

// The tokenisation of NIST's mteval-v13a.
std::vector<std::string> Tokenize13a(std::string text) {
  ReplaceEvery(text, "<skipped>", "");
  ReplaceEvery(text, "-\n", "");
  ReplaceEvery(text, "\n", " ");
  ReplaceEvery(text, "&quot;", "\"");
  ReplaceEvery(text, "&amp;", "&");
  ReplaceEvery(text, "&lt;", "<");
  ReplaceEvery(text, "&gt;", ">");
  std::string spaced;
  for (const char c : " " + text + " ") {
    if (IsPunctuation(c)) {
      spaced += {' ', c, ' '};
    } else {
      spaced += c;
    }
  }
  const auto behind = [](char a, char b, std::string& out) { out += {a, ' ', b, ' '}; };
  const auto before = [](char a, char b, std::string& out) { out += {' ', a, ' ', b}; };
  spaced = RewritePairs(
      spaced, [](char a, char b) { return !IsDigit(a) && IsStop(b); }, behind);
  spaced = RewritePairs(
      spaced, [](char a, char b) { return IsStop(a) && !IsDigit(b); }, before);
  spaced = RewritePairs(
      spaced, [](char a, char b) { return IsDigit(a) && b == '-'; }, behind);
  return WordsOf(spaced);
}

void CheckSizes(std::span<const std::string> references, std::span<const std::string> hypotheses,
                const char* function) {
  if (references.size() == hypotheses.size()) return;
  throw Error({.function = function,
               .problem = std::to_string(hypotheses.size()) + " texts",
               .expected = "one for each of " + std::to_string(references.size()) + " references"});
}

}  // namespace

double Bleu(std::span<const std::string> references, std::span<const std::string> hypotheses) {
  CheckSizes(references, hypotheses, "Bleu");
  constexpr size_t kOrder = 4;
  std::array<int64_t, kOrder> correct{}, total{};
  int64_t length = 0, reference_length = 0;
  for (size_t i = 0; i < references.size(); ++i) {
    const auto reference = Tokenize13a(references[i]), hypothesis = Tokenize13a(hypotheses[i]);
    length += static_cast<int64_t>(hypothesis.size());
    reference_length += static_cast<int64_t>(reference.size());
    for (size_t n = 1; n <= kOrder; ++n) {
      correct[n - 1] += Common(NGramsOf(hypothesis, n), NGramsOf(reference, n));
      if (hypothesis.size() >= n) total[n - 1] += static_cast<int64_t>(hypothesis.size() - n + 1);
    }
  }
  double log_sum = 0, smooth = 1;
  for (size_t n = 0; n < kOrder; ++n) {
    if (total[n] == 0) return 0;
    if (correct[n] == 0 && n == 0) return 0;
    if (correct[n] == 0) smooth *= 2;
    const double precision = correct[n] > 0 ? static_cast<double>(correct[n]) : 1 / smooth;
    log_sum += std::log(100 * precision / static_cast<double>(total[n]));
  }
  const double brevity =
      length < reference_length
          ? std::exp(1 - static_cast<double>(reference_length) / static_cast<double>(length))
          : 1;
  return brevity * std::exp(log_sum / kOrder);
}

double ChrF(std::span<const std::string> references, std::span<const std::string> hypotheses) {
  CheckSizes(references, hypotheses, "ChrF");
  constexpr size_t kOrder = 6;
  constexpr double kBetaSquared = 4;
  std::array<int64_t, kOrder> in_hypotheses{}, in_references{}, common{};
  const auto joined = [](const std::string& text) {
    std::string all;
    for (const std::string& word : WordsOf(text)) all += word;
    return CharactersOfText(all);
  };
  for (size_t i = 0; i < references.size(); ++i) {
    const auto reference = joined(references[i]), hypothesis = joined(hypotheses[i]);
    for (size_t n = 1; n <= kOrder; ++n) {
      const auto count = [n](const std::vector<char32_t>& text) {
        return text.size() >= n ? static_cast<int64_t>(text.size() - n + 1) : 0;
      };
      if (count(reference) > 0) in_hypotheses[n - 1] += count(hypothesis);
      in_references[n - 1] += count(reference);
      common[n - 1] += Common(NGramsOf(hypothesis, n), NGramsOf(reference, n));
    }
  }
  double precision = 0, recall = 0;
  int orders = 0;
  for (size_t n = 0; n < kOrder; ++n) {
    if (in_hypotheses[n] == 0 || in_references[n] == 0) continue;
    precision += static_cast<double>(common[n]) / static_cast<double>(in_hypotheses[n]);
    recall += static_cast<double>(common[n]) / static_cast<double>(in_references[n]);
    ++orders;
  }
  if (precision + recall == 0) return 0;
  precision /= orders;
  recall /= orders;
  return 100 * (1 + kBetaSquared) * precision * recall / (kBetaSquared * precision + recall);
}

}  // namespace rondo
