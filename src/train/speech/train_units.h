// SentencePiece units learned from texts.
#pragma once

#include <span>
#include <string>

namespace rondo {

// Trains byte-pair pieces (Sennrich et al. 2016, as SentencePiece has them: Kudo and Richardson
// 2018) and writes <folder>/tokenizer.model. Returns the number of pieces: `count`, or fewer where
// the texts do not give so many. Throws rondo::Error with the library's reason.
int TrainSentencePiece(std::span<const std::string> texts, int count, const std::string& folder);

}  // namespace rondo
