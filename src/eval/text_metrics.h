// How far texts are from references: word and character error rates, BLEU, chrF.
//
//   EditCounts words;
//   for (…) words += WordEdits(reference, hypothesis);
//   words.Rate();                                     // 0.1: one error in ten words
//
// Equal to jiwer (wer, cer) and sacrebleu (BLEU with its 13a tokenizer and exponential smoothing,
// chrF2) on the same texts.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace rondo {

// The fewest edits that make a reference of a hypothesis.
struct EditCounts {
  int64_t hits = 0, substitutions = 0, deletions = 0, insertions = 0;
  int64_t Reference() const { return hits + substitutions + deletions; }
  int64_t Errors() const { return substitutions + deletions + insertions; }
  // Errors relative to the reference; 0 when both are empty.
  double Rate() const;
  EditCounts& operator+=(const EditCounts& other);
};

// Words are separated by spaces or by runs of white space, as in jiwer: a single no-break space or
// line break is part of a word.
EditCounts WordEdits(std::string_view reference, std::string_view hypothesis);
// Characters are Unicode code points, spaces between words included.
EditCounts CharacterEdits(std::string_view reference, std::string_view hypothesis);

// Of a whole corpus with one reference each, 0 to 100 (Papineni et al. 2002; Post 2018). Throws
// when the numbers of texts differ.
double Bleu(std::span<const std::string> references, std::span<const std::string> hypotheses);
double ChrF(std::span<const std::string> references, std::span<const std::string> hypotheses);

}  // namespace rondo
