#include "text/tokenizer/pre_tokenizer.h"

#include <utility>

#include "text/unicode/characters.h"
#include "text/unicode/utf8.h"

namespace rondo {
namespace {

// Radford et al. 2019; the pattern inside ByteLevel.
constexpr char kGpt2Pattern[] =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

constexpr int kMatch = -1;  // a class of characters: what a split is looking for

struct Span {
  size_t begin;
  size_t end;
  bool match;
};

// Joins or drops the spans of a split as the behaviour says; they cover the text without gaps.
void ApplyBehavior(SplitBehavior behavior, std::vector<Span>& spans) {
  std::vector<Span> out;
  bool previous_match = false;
  for (const Span& span : spans) {
    bool join = false;
    switch (behavior) {
      case SplitBehavior::kIsolated:
        break;
      case SplitBehavior::kRemoved:
        if (span.match) continue;
        break;
      case SplitBehavior::kContiguous:
        join = !out.empty() && span.match == previous_match;
        break;
      case SplitBehavior::kMergedWithPrevious:
        join = !out.empty() && span.match && !previous_match;
        break;
      case SplitBehavior::kMergedWithNext:
        join = !out.empty() && !span.match && previous_match;
        break;
    }
    previous_match = span.match;
    if (join) {
      out.back().end = span.end;
    } else {
      out.push_back(span);
    }
  }
  spans = std::move(out);
}

}  // namespace

PreTokenizer::PreTokenizer(const std::vector<PreTokenizerStep>& steps, const std::string& file)
    : steps_(steps), regexes_(steps.size()) {
  for (size_t i = 0; i < steps.size(); ++i) {
    if (const auto* split = std::get_if<SplitAt>(&steps[i]); split && split->pattern.is_regex) {
      regexes_[i].emplace(split->pattern.text, file, "pre_tokenizer");
    } else if (const auto* bytes = std::get_if<ByteLevelWords>(&steps[i]);
               bytes && bytes->use_regex) {
      regexes_[i].emplace(kGpt2Pattern, file, "pre_tokenizer");
    }
  }
}

PreTokenizer::Run::Run(const PreTokenizer& rules, WordEncoder& session)
    : rules_(rules), session_(session), matchers_(rules.steps_.size()) {
  for (size_t i = 0; i < matchers_.size(); ++i) {
    if (rules.regexes_[i]) matchers_[i].emplace(*rules.regexes_[i]);
  }
}

void PreTokenizer::Run::Words(std::string_view text, bool is_start) { Step(0, text, is_start); }

std::string_view PreTokenizer::Run::Keep(std::string text) {
  return kept_.emplace_back(std::move(text));
}

void PreTokenizer::Run::Step(size_t index, std::string_view text, bool is_start) {
  if (text.empty()) return;
  if (index == rules_.steps_.size()) {
    session_.Encode(text);
    return;
  }
  const PreTokenizerStep& step = rules_.steps_[index];
  if (const auto* split = std::get_if<SplitAt>(&step)) {
    Split(index, *split, text, is_start);
  } else if (const auto* digits = std::get_if<SplitDigits>(&step)) {
    Digits(index, digits->individual, text, is_start);
  } else if (const auto* words = std::get_if<SplitWords>(&step)) {
    const auto class_of = [words](char32_t code) {
      if (IsSpace(code)) return kMatch;
      return words->at_punctuation && !IsWordChar(code) ? 1 : 0;
    };
    ByClass(index, class_of, SplitBehavior::kRemoved, text, is_start);
  } else if (const auto* marks = std::get_if<SplitPunctuation>(&step)) {
    const auto class_of = [](char32_t code) { return IsPunctuation(code) ? kMatch : 0; };
    ByClass(index, class_of, marks->behavior, text, is_start);
  } else if (const auto* metaspace = std::get_if<MetaspaceWords>(&step)) {
    Metaspace(index, *metaspace, text, is_start);
  } else {
    const auto& bytes = std::get<ByteLevelWords>(step);
    if (bytes.add_prefix_space && text[0] != ' ') text = Keep(" " + std::string(text));
    if (bytes.use_regex) {
      ByPattern(index, text, is_start);
    } else {
      Step(index + 1, text, is_start);
    }
  }
}

// The common case: every match is a word, and so is what lies between matches.
void PreTokenizer::Run::ByPattern(size_t index, std::string_view text, bool is_start) {
  Regex::Matcher& matcher = *matchers_[index];
  size_t done = 0;
  size_t begin = 0;
  size_t end = 0;
  for (size_t start = 0; start < text.size() && matcher.Search(text, start, begin, end);) {
    Step(index + 1, text.substr(done, begin - done), is_start && done == 0);
    Step(index + 1, text.substr(begin, end - begin), is_start && begin == 0);
    done = start = end;
    if (begin == end) start += end < text.size() ? Utf8Length(text[end]) : 1;
  }
  Step(index + 1, text.substr(done), is_start && done == 0);
}

void PreTokenizer::Run::Split(size_t index, const SplitAt& step, std::string_view text,
                              bool is_start) {
  if (step.behavior == SplitBehavior::kIsolated && matchers_[index]) {
    ByPattern(index, text, is_start);
    return;
  }
  std::vector<Span> spans;
  size_t done = 0;
  const auto add = [&](size_t begin, size_t end) {
    if (begin > done) spans.push_back({done, begin, step.invert});
    spans.push_back({begin, end, !step.invert});
    done = end;
  };
  size_t begin = 0;
  size_t end = 0;
  if (matchers_[index]) {
    for (size_t start = 0;
         start < text.size() && matchers_[index]->Search(text, start, begin, end);) {
      add(begin, end);
      start = end;
      if (begin == end) start += end < text.size() ? Utf8Length(text[end]) : 1;
    }
  } else if (const std::string& needle = step.pattern.text; !needle.empty()) {
    for (size_t hit = 0; (hit = text.find(needle, done)) != std::string_view::npos;) {
      add(hit, hit + needle.size());
    }
  }
  if (done < text.size()) spans.push_back({done, text.size(), step.invert});
  ApplyBehavior(step.behavior, spans);
  for (const Span& span : spans) {
    Step(index + 1, text.substr(span.begin, span.end - span.begin), is_start && span.begin == 0);
  }
}

// Cuts where the class of characters changes; those of kMatch are matches of a split, each on its
// own.
template <typename ClassOf>
void PreTokenizer::Run::ByClass(size_t index, const ClassOf& class_of, SplitBehavior behavior,
                                std::string_view text, bool is_start) {
  std::vector<Span> spans;
  int previous = kMatch;
  for (size_t i = 0; i < text.size();) {
    const Utf8Step step = NextUtf8(text, i);
    const int kind = class_of(step.code);
    const size_t end = i + static_cast<size_t>(step.length);
    if (kind == previous && kind != kMatch) {
      spans.back().end = end;
    } else {
      spans.push_back({i, end, kind == kMatch});
    }
    previous = kind;
    i = end;
  }
  ApplyBehavior(behavior, spans);
  for (const Span& span : spans) {
    Step(index + 1, text.substr(span.begin, span.end - span.begin), is_start && span.begin == 0);
  }
}

void PreTokenizer::Run::Digits(size_t index, bool individual, std::string_view text,
                               bool is_start) {
  size_t begin = 0;
  bool in_number = false;
  for (size_t i = 0; i < text.size();) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const int length = Utf8Length(text[i]);
    const bool number = byte < 0x80 ? byte >= '0' && byte <= '9' : IsNumber(NextUtf8(text, i).code);
    if (i > begin && (number != in_number || (number && individual))) {
      Step(index + 1, text.substr(begin, i - begin), is_start && begin == 0);
      begin = i;
    }
    in_number = number;
    i += length;
  }
  Step(index + 1, text.substr(begin), is_start && begin == 0);
}

void PreTokenizer::Run::Metaspace(size_t index, const MetaspaceWords& step, std::string_view text,
                                  bool is_start) {
  constexpr std::string_view kSpaceMark = kMetaspace;
  std::string marked = ReplaceAll(text, " ", kSpaceMark);
  const bool prepend = step.prepend == MetaspaceWords::kAlways ||
                       (step.prepend == MetaspaceWords::kFirst && is_start);
  if (prepend && !marked.starts_with(kSpaceMark)) marked.insert(0, kSpaceMark);
  const std::string_view whole = Keep(std::move(marked));
  if (!step.split) {
    Step(index + 1, whole, is_start);
    return;
  }
  size_t begin = 0;
  for (size_t cut = whole.find(kSpaceMark, 1); cut != std::string_view::npos;
       cut = whole.find(kSpaceMark, cut + kSpaceMark.size())) {
    Step(index + 1, whole.substr(begin, cut - begin), is_start && begin == 0);
    begin = cut;
  }
  Step(index + 1, whole.substr(begin), is_start && begin == 0);
}

}  // namespace rondo
