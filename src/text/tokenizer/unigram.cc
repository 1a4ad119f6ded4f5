#include "text/tokenizer/unigram.h"

#include <algorithm>
#include <limits>
#include <string>

#include "text/tokenizer/byte_level.h"
#include "text/unicode/utf8.h"

namespace rondo {
namespace {

constexpr double kUnknownPenalty = 10;  // below the least probable token, as SentencePiece has it
constexpr size_t kNowhere = std::numeric_limits<size_t>::max();

bool IsText(const TokenModel& model, size_t id) {
  if (model.tokens[id].empty()) return false;
  return model.types.empty() || model.types[id] == TokenType::kNormal ||
         model.types[id] == TokenType::kUserDefined;
}

}  // namespace

class UnigramEncoder final : public WordEncoder {
 public:
  UnigramEncoder(const Unigram& unigram, std::vector<int32_t>& out)
      : unigram_(unigram), model_(unigram.model_), out_(out) {}

  void Encode(std::string_view word) override {
    FindBestCut(word);
    pieces_.clear();
    for (size_t end = word.size(); end > 0; end = best_[end].begin) {
      pieces_.push_back({best_[end].begin, end, best_[end].id});
    }
    std::reverse(pieces_.begin(), pieces_.end());
    for (size_t i = 0; i < pieces_.size();) {
      Piece piece = pieces_[i++];
      const auto is_unknown = [&](const Piece& p) { return p.id == model_.unknown || p.id < 0; };
      while (model_.fuse_unknown && is_unknown(piece) && i < pieces_.size() &&
             is_unknown(pieces_[i])) {
        piece.end = pieces_[i++].end;
      }
      Emit(word.substr(piece.begin, piece.end - piece.begin));
    }
  }

 private:
  struct Node {  // the best way to a place
    double score = 0;
    size_t begin = kNowhere;
    int32_t id = -1;
  };
  struct Piece {
    size_t begin;
    size_t end;
    int32_t id;
  };

  void Offer(size_t begin, size_t end, double score, int32_t id) {
    Node& node = best_[end];
    if (node.begin == kNowhere || score > node.score) node = {score, begin, id};
  }

  void FindBestCut(std::string_view word) {
    best_.assign(word.size() + 1, {});
    for (size_t at = 0; at < word.size();) {
      const auto character = static_cast<size_t>(Utf8Length(word[at]));
      const double here = best_[at].score;
      bool single = false;
      unigram_.trie_.ForEachAt(word, at, [&](int32_t id, size_t length) {
        Offer(at, at + length, here + model_.log_probabilities[static_cast<size_t>(id)], id);
        single |= length == character;
      });
      if (!single) Offer(at, at + character, here + unigram_.unknown_score_, model_.unknown);
      at += character;
    }
  }

  // A piece that is no token becomes its bytes, or the unknown token.
  void Emit(std::string_view text) {
    const int32_t id = unigram_.ids_.Find(text);
    if (id >= 0) {
      out_.push_back(id);
      return;
    }
    const auto byte_id = [this](char byte) {
      return unigram_.byte_ids_[static_cast<unsigned char>(byte)];
    };
    if (model_.byte_fallback &&
        std::all_of(text.begin(), text.end(), [&](char byte) { return byte_id(byte) >= 0; })) {
      for (const char byte : text) out_.push_back(byte_id(byte));
    } else if (model_.unknown >= 0) {
      out_.push_back(model_.unknown);
    }
  }

  const Unigram& unigram_;
  const TokenModel& model_;
  std::vector<int32_t>& out_;
  std::vector<Node> best_;  // by byte
  std::vector<Piece> pieces_;
};

Unigram::Unigram(const TokenModel& model) : model_(model), ids_(model.tokens.size()) {
  byte_ids_.fill(-1);
  double least = std::numeric_limits<double>::infinity();
  for (size_t i = 0; i < model.tokens.size(); ++i) {
    const auto id = static_cast<int32_t>(i);
    const auto byte = ParseByteToken(model.tokens[i]);
    if (byte && model.tokens[i] == ByteTokenName(*byte)) byte_ids_[*byte] = id;
    if (!IsText(model, i)) continue;
    least = std::min(least, model.log_probabilities[i]);
    trie_.Insert(model.tokens[i], id);
    ids_.Insert(model.tokens[i], id);
  }
  unknown_score_ = least - kUnknownPenalty;
}

std::unique_ptr<WordEncoder> Unigram::Start(std::vector<int32_t>& out, size_t) const {
  return std::make_unique<UnigramEncoder>(*this, out);
}

}  // namespace rondo
