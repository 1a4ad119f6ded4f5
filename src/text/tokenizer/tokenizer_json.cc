#include "text/tokenizer/tokenizer_json.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

#include "base/file.h"
#include "base/strings.h"
#include "rondo/error.h"
#include "text/jinja/json_values.h"
#include "text/tokenizer/merges.h"
#include "text/tokenizer/tokenizer_json_parts.h"

namespace rondo {
namespace {

using Json = nlohmann::json;

// {"token": id, …} -> tokens by id.
std::vector<std::string> ReadVocab(const Json& vocab, const std::string& field,
                                   const std::string& file) {
  const auto fail = [&](const std::string& problem) {
    throw Error({.function = "LoadTokenizer", .problem = problem, .file = file, .field = field});
  };
  if (!vocab.is_object()) fail(std::string("is ") + vocab.type_name());
  const size_t limit = vocab.size() * 4 + (1 << 16);  // ids may have gaps
  std::vector<std::string> tokens;
  for (const auto& [token, value] : vocab.items()) {
    const auto id = JsonId(value);
    if (!id || static_cast<size_t>(*id) >= limit) {
      fail("token '" + token + "' has the id " + value.dump());
    }
    const auto index = static_cast<size_t>(*id);
    if (index >= tokens.size()) tokens.resize(index + 1);
    if (!tokens[index].empty()) {
      fail("tokens '" + tokens[index] + "' and '" + token + "' have the same id");
    }
    tokens[index] = token;
  }
  return tokens;
}

void ReadMerges(const Json& merges, const std::string& file, TokenModel& model) {
  MergeReader reader(model.tokens, file, model.subword_prefix.size());
  if (!merges.is_array()) reader.Fail(std::string("is ") + merges.type_name());
  model.merges.reserve(merges.size());
  for (const Json& merge : merges) {
    if (merge.is_string()) {
      model.merges.push_back(reader.ResolveLine(merge.get_ref<const std::string&>()));
    } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() &&
               merge[1].is_string()) {
      model.merges.push_back(reader.Resolve(merge[0].get_ref<const std::string&>(),
                                            merge[1].get_ref<const std::string&>()));
    } else {
      reader.Fail(merge.dump().substr(0, 80) + " is not two tokens");
    }
  }
}

void ReadUnknown(JsonObject& object, TokenModel& model) {
  const Json* unknown = object.Find("unk_token");
  if (unknown == nullptr) return;
  const auto found = unknown->is_string() ? std::find(model.tokens.begin(), model.tokens.end(),
                                                      unknown->get_ref<const std::string&>())
                                          : model.tokens.end();
  if (found == model.tokens.end()) {
    object.Fail("unk_token", JsonExcerpt(*unknown), "a token of the vocabulary");
  }
  model.unknown = static_cast<int32_t>(found - model.tokens.begin());
}

void ReadBpe(JsonObject& object, const std::string& file, TokenModel& model) {
  model.tokens = ReadVocab(Member(object, "vocab"), "model.vocab", file);
  model.subword_prefix = object.String("continuing_subword_prefix", "");
  model.word_suffix = object.String("end_of_word_suffix", "");
  ReadMerges(Member(object, "merges"), file, model);
  ReadUnknown(object, model);
  model.fuse_unknown = object.Bool("fuse_unk", false);
  model.byte_fallback = object.Bool("byte_fallback", false);
  model.ignore_merges = object.Bool("ignore_merges", false);
  if (const Json* dropout = object.Find("dropout"); dropout != nullptr && *dropout != 0) {
    object.Fail("dropout", JsonExcerpt(*dropout), "null");
  }
}

// "vocab" is a list of [token, log probability] by id.
void ReadUnigram(JsonObject& object, TokenModel& model) {
  model.kind = ModelKind::kUnigram;
  for (const Json& entry : ArrayMember(object, "vocab")) {
    if (!entry.is_array() || entry.size() != 2 || !entry[0].is_string() || !entry[1].is_number()) {
      object.Fail("vocab", JsonExcerpt(entry), "[token, log probability]");
    }
    model.tokens.push_back(entry[0].get<std::string>());
    model.log_probabilities.push_back(entry[1].get<double>());
  }
  model.unknown = object.Int("unk_id", -1);
  model.fuse_unknown = true;
  model.byte_fallback = object.Bool("byte_fallback", false);
}

// Older files do not name the model.
std::string ModelType(JsonObject& object) {
  const Json* vocab = object.Find("vocab");
  if (vocab != nullptr && vocab->is_array()) return "Unigram";
  return object.Find("max_input_chars_per_word") != nullptr ? "WordPiece" : "BPE";
}

void ReadModel(const Json& part, TokenizerSpec& spec) {
  JsonObject object(part, "LoadTokenizer", spec.file, "model");
  TokenModel& model = spec.model;
  const std::string type = object.String("type", ModelType(object));
  if (type == "BPE") {
    ReadBpe(object, spec.file, model);
  } else if (type == "Unigram") {
    ReadUnigram(object, model);
  } else if (type == "WordPiece") {
    model.kind = ModelKind::kWordPiece;
    model.tokens = ReadVocab(Member(object, "vocab"), "model.vocab", spec.file);
    ReadUnknown(object, model);
    model.subword_prefix = object.String("continuing_subword_prefix", "##");
    model.longest_word = object.Int("max_input_chars_per_word", 100);
  } else {
    object.Fail("type", "model '" + type + "' is not supported", "BPE, Unigram or WordPiece");
  }
  object.RefuseUnknownKeys();
}

// User-defined pieces of a scored vocabulary are added tokens in this format. They are looked for
// among metaspaces where nothing else changes the text before.
void AddUserDefined(const TokenizerSpec& spec, std::vector<AddedToken>& added) {
  if (!spec.model.UsesScores() && spec.model.kind != ModelKind::kUnigram) return;
  const bool prepends = std::any_of(
      spec.normalizers.begin(), spec.normalizers.end(),
      [](const NormalizerStep& step) { return std::holds_alternative<PrependText>(step); });
  for (size_t i = 0; i < spec.model.tokens.size(); ++i) {
    if (spec.model.types[i] != TokenType::kUserDefined) continue;
    AddedToken token{.content = spec.model.tokens[i], .id = static_cast<int32_t>(i)};
    token.normalized = !prepends;
    added.push_back(std::move(token));
  }
}

void CheckByteLevel(const JsonObject& object, const TokenModel& model) {
  if (model.kind != ModelKind::kBpe) {
    object.Fail("pre_tokenizer", "ByteLevel with another model than BPE", "BPE");
  }
  if (model.byte_fallback) {
    object.Fail("model.byte_fallback", "true", "false in a byte-level tokenizer");
  }
  if (!model.subword_prefix.empty() || !model.word_suffix.empty()) {
    object.Fail("model", "continuing_subword_prefix or end_of_word_suffix",
                "neither in a byte-level tokenizer");
  }
}

Json UnigramJson(const TokenModel& model) {
  Json vocab = Json::array();
  for (size_t i = 0; i < model.tokens.size(); ++i) {
    vocab.push_back({model.tokens[i], model.log_probabilities[i]});
  }
  const Json unknown = model.unknown >= 0 ? Json(model.unknown) : Json(nullptr);
  return {{"type", "Unigram"},
          {"unk_id", unknown},
          {"vocab", std::move(vocab)},
          {"byte_fallback", model.byte_fallback}};
}

Json BpeJson(const TokenizerSpec& spec) {
  const std::vector<std::string>& tokens = spec.model.tokens;
  Json vocab = Json::object();
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (!tokens[i].empty()) vocab.emplace(tokens[i], i);  // of equal tokens the first counts
  }
  Json merges = Json::array();
  for (const Merge& merge :
       spec.model.UsesScores() ? MergesFromScores(spec.model) : spec.model.merges) {
    merges.push_back(
        {tokens[static_cast<size_t>(merge.left)], tokens[static_cast<size_t>(merge.right)]});
  }
  const Json unknown =
      spec.model.unknown >= 0 ? Json(TokenName(spec, spec.model.unknown)) : Json(nullptr);
  return {{"type", "BPE"},
          {"dropout", nullptr},
          {"unk_token", unknown},
          {"continuing_subword_prefix", nullptr},
          {"end_of_word_suffix", nullptr},
          {"fuse_unk", spec.model.fuse_unknown},
          {"byte_fallback", spec.model.byte_fallback},
          {"ignore_merges", spec.model.ignore_merges},
          {"vocab", std::move(vocab)},
          {"merges", std::move(merges)}};
}

}  // namespace

TokenizerSpec ReadTokenizerJson(const std::string& file) {
  const Json root = ReadJsonFile(file);
  TokenizerSpec spec;
  spec.file = file;
  JsonObject object(root, "LoadTokenizer", file);
  ReadModel(Member(object, "model"), spec);
  if (object.Find("added_tokens") != nullptr) {
    for (const Json& token : ArrayMember(object, "added_tokens")) {
      spec.added.push_back(ReadAddedToken(token, "added_tokens", file));
    }
  }
  if (const Json* part = object.Find("normalizer")) ReadNormalizer(*part, file, spec.normalizers);
  if (const Json* part = object.Find("pre_tokenizer")) {
    ReadPreTokenizer(*part, file, spec.pre_tokenizers);
  }
  if (const Json* part = object.Find("decoder")) ReadDecoder(*part, file, spec.decoders);
  if (const Json* part = object.Find("post_processor")) ReadPostProcessor(*part, spec);
  for (const char* key : {"version", "truncation", "padding"}) object.Find(key);
  object.RefuseUnknownKeys();
  if (spec.ByteLevel()) CheckByteLevel(object, spec.model);
  return spec;
}

TokenizerSpec ReadVocabAndMerges(const std::string& vocab_file, const std::string& merges_file) {
  TokenizerSpec spec;
  spec.file = vocab_file;
  spec.model.tokens = ReadVocab(ReadJsonFile(vocab_file), "", vocab_file);
  MergeReader reader(spec.model.tokens, merges_file);
  const std::string merges = ReadTextFile(merges_file);
  for (const std::string& line : Split(merges, '\n')) {
    const std::string_view text = line.ends_with('\r')
                                      ? std::string_view(line).substr(0, line.size() - 1)
                                      : std::string_view(line);
    if (text.empty() || text.starts_with("#version")) continue;
    spec.model.merges.push_back(reader.ResolveLine(text));
  }
  spec.decoders = {DecodeByteLevel{}};
  return spec;
}

std::string WriteTokenizerJson(const TokenizerSpec& spec) {
  Json added = Json::array();
  std::vector<AddedToken> by_id = spec.added;
  AddUserDefined(spec, by_id);
  std::sort(by_id.begin(), by_id.end(),
            [](const AddedToken& a, const AddedToken& b) { return a.id < b.id; });
  for (const AddedToken& token : by_id) added.push_back(AddedTokenJson(token));
  const bool unigram = spec.model.kind == ModelKind::kUnigram;
  const Json root = {{"version", "1.0"},
                     {"truncation", nullptr},
                     {"padding", nullptr},
                     {"added_tokens", std::move(added)},
                     {"normalizer", NormalizerJson(spec)},
                     {"pre_tokenizer", PreTokenizerJson(spec)},
                     {"post_processor", PostProcessorJson(spec)},
                     {"decoder", DecoderJson(spec)},
                     {"model", unigram ? UnigramJson(spec.model) : BpeJson(spec)}};
  return root.dump();
}

}  // namespace rondo
