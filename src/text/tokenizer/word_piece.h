// WordPiece models (Schuster and Nakajima 2012): the longest token first, from the left.
#pragma once

#include <memory>
#include <vector>

#include "text/tokenizer/hash_maps.h"
#include "text/tokenizer/word_model.h"

namespace rondo {

class WordPiece final : public WordModel {
 public:
  explicit WordPiece(const TokenModel& model);
  std::unique_ptr<WordEncoder> Start(std::vector<int32_t>& out, size_t text_bytes) const override;

 private:
  friend class WordPieceEncoder;
  const TokenModel& model_;
  TextToId ids_;
};

}  // namespace rondo
