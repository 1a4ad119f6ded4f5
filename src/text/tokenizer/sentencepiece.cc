#include "text/tokenizer/sentencepiece.h"

#include <algorithm>
#include <limits>
#include <string_view>
#include <utility>

#include "base/file.h"
#include "rondo/error.h"
#include "text/tokenizer/protobuf.h"

namespace rondo {
namespace {

// Field numbers of sentencepiece_model.proto.
enum ModelField { kPieces = 1, kTrainerSpec = 2, kNormalizerSpec = 3 };
enum PieceField { kPiece = 1, kScore = 2, kType = 3 };
enum TrainerField {
  kModelType = 3,
  kTreatWhitespaceAsSuffix = 24,
  kByteFallback = 35,
  kUnkId = 40,
  kBosId = 41,
  kEosId = 42,
  kPadId = 43
};
enum NormalizerField { kCharsMap = 2, kAddDummyPrefix = 3, kRemoveExtra = 4, kEscape = 5 };

class ModelReader {
 public:
  explicit ModelReader(const std::string& file) : bytes_(ReadTextFile(file)) { spec_.file = file; }

  TokenizerSpec Read() {
    ProtobufReader reader(bytes_, spec_.file);
    while (reader.Next()) {
      if (reader.field() == kPieces) {
        ReadPiece(reader.Bytes());
      } else if (reader.field() == kTrainerSpec) {
        ReadTrainer(reader.Bytes());
      } else if (reader.field() == kNormalizerSpec) {
        ReadNormalizerSpec(reader.Bytes());
      } else {
        reader.Skip();
      }
    }
    const auto count = static_cast<int32_t>(spec_.model.tokens.size());
    const auto known = [count](int64_t id) {
      return id >= 0 && id < count ? static_cast<int32_t>(id) : -1;
    };
    spec_.bos = known(bos_);
    if (known(eos_) >= 0) spec_.eos = {known(eos_)};
    spec_.model.unknown = spec_.unknown = known(unknown_);
    spec_.pad = known(pad_);
    if (spec_.model.kind == ModelKind::kUnigram) UseLogProbabilities();
    FinishSentencePiece(options_, spec_);
    return std::move(spec_);
  }

 private:
  [[noreturn]] void Refuse(const std::string& problem, const std::string& field) const {
    throw Error({.function = "ReadSentencePieceModel",
                 .problem = problem,
                 .file = spec_.file,
                 .field = field});
  }

  // User-defined pieces are always taken: they get more than any other way to say as many bytes.
  void UseLogProbabilities() {
    TokenModel& model = spec_.model;
    double most = -std::numeric_limits<double>::infinity();
    for (size_t i = 0; i < model.scores.size(); ++i) {
      if (model.types[i] == TokenType::kNormal) most = std::max<double>(most, model.scores[i]);
    }
    for (size_t i = 0; i < model.scores.size(); ++i) {
      const bool defined = model.types[i] == TokenType::kUserDefined;
      const auto bytes = static_cast<double>(model.tokens[i].size());
      model.log_probabilities.push_back(defined ? bytes * most - 0.1 : model.scores[i]);
    }
    model.scores.clear();
  }

  void ReadPiece(std::string_view bytes) {
    ProtobufReader reader(bytes, spec_.file);
    std::string piece;
    float score = 0;
    uint64_t type = 1;
    while (reader.Next()) {
      if (reader.field() == kPiece) {
        piece = reader.Bytes();
      } else if (reader.field() == kScore) {
        score = reader.Float();
      } else if (reader.field() == kType) {
        type = reader.Varint();
      } else {
        reader.Skip();
      }
    }
    if (type < 1 || type > 6) Refuse("unknown piece type " + std::to_string(type), piece);
    spec_.model.tokens.push_back(std::move(piece));
    spec_.model.scores.push_back(score);
    spec_.model.types.push_back(static_cast<TokenType>(type));
  }

  void ReadTrainer(std::string_view bytes) {
    ProtobufReader reader(bytes, spec_.file);
    uint64_t model_type = 1;
    while (reader.Next()) {
      switch (reader.field()) {
        case kModelType:
          model_type = reader.Varint();
          break;
        case kTreatWhitespaceAsSuffix:
          if (reader.Varint() != 0) Refuse("is not supported", "treat_whitespace_as_suffix");
          break;
        case kByteFallback:
          spec_.model.byte_fallback = reader.Varint() != 0;
          break;
        case kUnkId:
          unknown_ = Id(reader);
          break;
        case kBosId:
          bos_ = Id(reader);
          break;
        case kEosId:
          eos_ = Id(reader);
          break;
        case kPadId:
          pad_ = Id(reader);
          break;
        default:
          reader.Skip();
      }
    }
    constexpr const char* kNames[] = {"?", "unigram", "bpe", "word", "char"};
    if (model_type != 1 && model_type != 2) {
      Refuse(std::string("model type '") + kNames[model_type > 4 ? 0 : model_type] +
                 "' is not supported; bpe and unigram are",
             "trainer_spec.model_type");
    }
    if (model_type == 1) spec_.model.kind = ModelKind::kUnigram;
  }

  static int64_t Id(ProtobufReader& reader) { return static_cast<int64_t>(reader.Varint()); }

  void ReadNormalizerSpec(std::string_view bytes) {
    ProtobufReader reader(bytes, spec_.file);
    while (reader.Next()) {
      if (reader.field() == kCharsMap) {
        if (!reader.Bytes().empty()) {
          Refuse("a character map is not supported", "normalizer_spec.precompiled_charsmap");
        }
      } else if (reader.field() == kAddDummyPrefix) {
        options_.add_dummy_prefix = reader.Varint() != 0;
      } else if (reader.field() == kRemoveExtra) {
        options_.remove_extra_whitespaces = reader.Varint() != 0;
      } else if (reader.field() == kEscape) {
        if (reader.Varint() == 0) Refuse("false is not supported", "escape_whitespaces");
      } else {
        reader.Skip();
      }
    }
  }

  std::string bytes_;
  TokenizerSpec spec_;
  SentencePieceOptions options_{.remove_extra_whitespaces = true};  // the format's defaults
  int64_t unknown_ = 0;
  int64_t bos_ = 1;
  int64_t eos_ = 2;
  int64_t pad_ = -1;
};

}  // namespace

TokenizerSpec ReadSentencePieceModel(const std::string& file) { return ModelReader(file).Read(); }

void FinishSentencePiece(const SentencePieceOptions& options, TokenizerSpec& spec) {
  const bool squeeze = options.remove_extra_whitespaces;
  if (squeeze) {
    spec.normalizers.emplace_back(ReplaceText{{R"(\A +)", true}, ""});
    spec.normalizers.emplace_back(ReplaceText{{" {2,}", true}, " "});
  }
  if (options.add_dummy_prefix) spec.normalizers.emplace_back(PrependText{kMetaspace});
  spec.normalizers.emplace_back(ReplaceText{{" ", false}, kMetaspace});
  // SentencePiece strips the end when spaces are metaspaces already, so that these go with them.
  if (squeeze)
    spec.normalizers.emplace_back(ReplaceText{{std::string(kMetaspace) + "+\\z", true}, ""});
  spec.decoders = {ReplaceText{{kMetaspace, false}, " "}, DecodeByteFallback{}, DecodeFuse{}};
  if (options.add_dummy_prefix) spec.decoders.emplace_back(DecodeStrip{" ", 1, 0});
  spec.model.fuse_unknown = true;
  for (size_t i = 0; i < spec.model.tokens.size(); ++i) {
    const TokenType type = spec.model.types[i];
    if (type != TokenType::kControl && type != TokenType::kUnknown) continue;
    AddedToken token{.content = spec.model.tokens[i], .id = static_cast<int32_t>(i)};
    token.special = true;
    spec.added.push_back(std::move(token));
  }
  if (options.add_bos && spec.bos >= 0) spec.prefix = {spec.bos};
  if (options.add_eos && !spec.eos.empty()) spec.suffix = {spec.eos[0]};
}

}  // namespace rondo
