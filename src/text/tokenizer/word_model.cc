#include "text/tokenizer/word_model.h"

#include "text/tokenizer/bpe.h"
#include "text/tokenizer/unigram.h"
#include "text/tokenizer/word_piece.h"

namespace rondo {

std::unique_ptr<const WordModel> MakeWordModel(const TokenModel& model, bool byte_level) {
  switch (model.kind) {
    case ModelKind::kUnigram:
      return std::make_unique<Unigram>(model);
    case ModelKind::kWordPiece:
      return std::make_unique<WordPiece>(model);
    case ModelKind::kBpe:
      break;
  }
  return std::make_unique<Bpe>(model, byte_level);
}

}  // namespace rondo
