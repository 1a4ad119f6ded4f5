// The two ways to state a BPE vocabulary: a list of merges, and SentencePiece's scores.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer/hash_maps.h"
#include "text/tokenizer/tokenizer_spec.h"

namespace rondo {

// Turns pairs of token texts into merges. Throws naming the text that is not in the vocabulary.
class MergeReader {
 public:
  // Both must outlive the object.
  MergeReader(const std::vector<std::string>& tokens, const std::string& file,
              size_t prefix_bytes = 0);

  Merge Resolve(std::string_view left, std::string_view right);
  Merge ResolveLine(std::string_view line);  // "left right"
  [[noreturn]] void Fail(const std::string& problem) const;

 private:
  int32_t Id(std::string_view token) const;

  const std::string& file_;
  size_t prefix_bytes_;  // that the second part of a merge loses
  TextToId ids_;
  std::string joined_;
};

// Every way to make a normal token from two others, the best score first; among equals the longer
// left part first, as Hugging Face's converters order them.
std::vector<Merge> MergesFromScores(const TokenModel& model);

// Scores that rank tokens as the merges do: minus the place of the first merge that makes the
// token; tokens that no merge makes get the lowest score.
std::vector<float> ScoresFromMerges(const TokenModel& model);

}  // namespace rondo
