#include "text/tokenizer/tokenizer_json_parts.h"

#include <functional>
#include <nlohmann/json.hpp>
#include <utility>

namespace rondo {
namespace {

using Json = nlohmann::json;

[[noreturn]] void RefuseType(const JsonObject& object, const std::string& what,
                             const std::string& type, const char* known) {
  object.Fail("type", what + " '" + type + "' is not supported", known);
}

// Calls `read` for every element of the array `key`.
void ForEach(JsonObject& object, const std::string& key,
             const std::function<void(const Json&)>& read) {
  for (const Json& element : ArrayMember(object, key)) read(element);
}

TextPattern ReadPattern(JsonObject& object) {
  JsonObject pattern = object.Object("pattern");
  TextPattern out;
  out.is_regex = pattern.Find("Regex") != nullptr;
  out.text = pattern.String(out.is_regex ? "Regex" : "String");
  pattern.RefuseUnknownKeys();
  return out;
}

ReplaceText ReadReplace(JsonObject& object) {
  return {ReadPattern(object), object.String("content")};
}

SplitBehavior ReadBehavior(JsonObject& object) {
  const std::string name = object.String("behavior");
  if (name == "Removed") return SplitBehavior::kRemoved;
  if (name == "Isolated") return SplitBehavior::kIsolated;
  if (name == "MergedWithPrevious") return SplitBehavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return SplitBehavior::kMergedWithNext;
  if (name == "Contiguous") return SplitBehavior::kContiguous;
  object.Fail("behavior", "unknown behavior '" + name + "'", "Removed, Isolated, …");
}

// Metaspace as pre-tokenizer or decoder; older files have add_prefix_space.
MetaspaceWords ReadMetaspace(JsonObject& object) {
  MetaspaceWords step;
  if (object.String("replacement", kMetaspace) != kMetaspace ||
      object.String("str_rep", kMetaspace) != kMetaspace) {
    object.Fail("replacement", "not supported", "U+2581");
  }
  const bool add_prefix = object.Bool("add_prefix_space", true);
  const std::string scheme = object.String("prepend_scheme", add_prefix ? "always" : "never");
  if (scheme == "always") {
    step.prepend = MetaspaceWords::kAlways;
  } else if (scheme == "first") {
    step.prepend = MetaspaceWords::kFirst;
  } else if (scheme == "never") {
    step.prepend = MetaspaceWords::kNever;
  } else {
    object.Fail("prepend_scheme", "unknown scheme '" + scheme + "'", "always, first or never");
  }
  step.split = object.Bool("split", true);
  return step;
}

ByteLevelWords ReadByteLevel(JsonObject& object) {
  ByteLevelWords step;
  step.add_prefix_space = object.Bool("add_prefix_space", true);
  object.Bool("trim_offsets", true);  // concerns offsets only
  step.use_regex = object.Bool("use_regex", true);
  return step;
}

// One side of TemplateProcessing's "single": special tokens around the text.
void ReadTemplate(JsonObject& object, TokenizerSpec& spec) {
  JsonObject tokens = object.Object("special_tokens");
  bool after = false;
  ForEach(object, "single", [&](const Json& element) {
    JsonObject piece(element, "LoadTokenizer", object.file(), "post_processor.single");
    if (piece.Find("Sequence") != nullptr) {
      JsonObject body = piece.Object("Sequence");
      if (after || body.String("id") != "A")
        piece.Fail("Sequence", "bad sequence", "the text A, once");
      after = true;
      return;
    }
    JsonObject body = piece.Object("SpecialToken");
    const std::string name = body.String("id");
    JsonObject token = tokens.Object(name);
    ForEach(token, "ids", [&](const Json& value) {
      const auto id = JsonId(value);
      if (!id) token.Fail("ids", JsonExcerpt(value), "a token id");
      (after ? spec.suffix : spec.prefix).push_back(*id);
    });
  });
  if (!after) object.Fail("single", "the text is missing", "the text A, once");
  object.Find("pair");
}

Json PatternJson(const TextPattern& pattern) {
  return {{pattern.is_regex ? "Regex" : "String", pattern.text}};
}

Json ReplaceJson(const ReplaceText& step) {
  return {{"type", "Replace"}, {"pattern", PatternJson(step.pattern)}, {"content", step.content}};
}

Json MetaspaceJson(MetaspaceWords::Prepend prepend, bool split) {
  const char* names[] = {"always", "first", "never"};
  return {{"type", "Metaspace"},
          {"replacement", kMetaspace},
          {"prepend_scheme", names[prepend]},
          {"split", split}};
}

Json ByteLevelJson(const ByteLevelWords& step) {
  return {{"type", "ByteLevel"},
          {"add_prefix_space", step.add_prefix_space},
          {"trim_offsets", true},
          {"use_regex", step.use_regex}};
}

struct ToJson {
  Json operator()(const UnicodeForm& step) const {
    const char* names[] = {"NFC", "NFD", "NFKC", "NFKD"};
    return {{"type", names[step.form]}};
  }
  Json operator()(const PrependText& step) const {
    return {{"type", "Prepend"}, {"prepend", step.text}};
  }
  Json operator()(const ReplaceText& step) const { return ReplaceJson(step); }
  Json operator()(const StripSpace& step) const {
    return {{"type", "Strip"}, {"strip_left", step.left}, {"strip_right", step.right}};
  }
  Json operator()(const SplitAt& step) const {
    const char* names[] = {"Removed", "Isolated", "MergedWithPrevious", "MergedWithNext",
                           "Contiguous"};
    return {{"type", "Split"},
            {"pattern", PatternJson(step.pattern)},
            {"behavior", names[static_cast<int>(step.behavior)]},
            {"invert", step.invert}};
  }
  Json operator()(const SplitDigits& step) const {
    return {{"type", "Digits"}, {"individual_digits", step.individual}};
  }
  Json operator()(const ByteLevelWords& step) const { return ByteLevelJson(step); }
  Json operator()(const MetaspaceWords& step) const {
    return MetaspaceJson(step.prepend, step.split);
  }
  Json operator()(const DecodeByteLevel&) const { return ByteLevelJson({}); }
  Json operator()(const DecodeByteFallback&) const { return {{"type", "ByteFallback"}}; }
  Json operator()(const DecodeFuse&) const { return {{"type", "Fuse"}}; }
  Json operator()(const DecodeStrip& step) const {
    return {
        {"type", "Strip"}, {"content", step.content}, {"start", step.start}, {"stop", step.stop}};
  }
  Json operator()(const DecodeMetaspace& step) const {
    return MetaspaceJson(step.strip_first ? MetaspaceWords::kAlways : MetaspaceWords::kNever, true);
  }
};

template <typename Step>
Json StepsJson(const std::vector<Step>& steps, const char* list_name) {
  if (steps.empty()) return nullptr;
  if (steps.size() == 1) return std::visit(ToJson{}, steps[0]);
  Json list = Json::array();
  for (const Step& step : steps) list.push_back(std::visit(ToJson{}, step));
  return {{"type", "Sequence"}, {list_name, std::move(list)}};
}

}  // namespace

void ReadNormalizer(const Json& part, const std::string& file, std::vector<NormalizerStep>& steps) {
  JsonObject object(part, "LoadTokenizer", file, "normalizer");
  const std::string type = object.String("type");
  if (type == "Sequence") {
    ForEach(object, "normalizers", [&](const Json& step) { ReadNormalizer(step, file, steps); });
  } else if (type == "NFC") {
    steps.emplace_back(UnicodeForm{UnicodeForm::kNfc});
  } else if (type == "NFD") {
    steps.emplace_back(UnicodeForm{UnicodeForm::kNfd});
  } else if (type == "NFKC") {
    steps.emplace_back(UnicodeForm{UnicodeForm::kNfkc});
  } else if (type == "NFKD") {
    steps.emplace_back(UnicodeForm{UnicodeForm::kNfkd});
  } else if (type == "Prepend") {
    steps.emplace_back(PrependText{object.String("prepend")});
  } else if (type == "Replace") {
    steps.emplace_back(ReadReplace(object));
  } else if (type == "Strip") {
    const bool left = object.Bool("strip_left", true);
    steps.emplace_back(StripSpace{left, object.Bool("strip_right", true)});
  } else {
    RefuseType(object, "normalizer", type,
               "Sequence, NFC, NFD, NFKC, NFKD, Prepend, Replace or Strip");
  }
  object.RefuseUnknownKeys();
}

void ReadPreTokenizer(const Json& part, const std::string& file,
                      std::vector<PreTokenizerStep>& steps) {
  JsonObject object(part, "LoadTokenizer", file, "pre_tokenizer");
  if (!steps.empty() && std::holds_alternative<ByteLevelWords>(steps.back())) {
    object.Fail("", "a pre-tokenizer after ByteLevel", "ByteLevel last");
  }
  const std::string type = object.String("type");
  if (type == "Sequence") {
    ForEach(object, "pretokenizers", [&](const Json& s) { ReadPreTokenizer(s, file, steps); });
  } else if (type == "Split") {
    SplitAt step{ReadPattern(object), ReadBehavior(object), object.Bool("invert", false)};
    steps.emplace_back(std::move(step));
  } else if (type == "Digits") {
    steps.emplace_back(SplitDigits{object.Bool("individual_digits", false)});
  } else if (type == "ByteLevel") {
    steps.emplace_back(ReadByteLevel(object));
  } else if (type == "Metaspace") {
    steps.emplace_back(ReadMetaspace(object));
  } else {
    RefuseType(object, "pre-tokenizer", type, "Sequence, Split, Digits, ByteLevel or Metaspace");
  }
  object.RefuseUnknownKeys();
}

void ReadDecoder(const Json& part, const std::string& file, std::vector<DecoderStep>& steps) {
  JsonObject object(part, "LoadTokenizer", file, "decoder");
  const std::string type = object.String("type");
  if (type == "Sequence") {
    ForEach(object, "decoders", [&](const Json& step) { ReadDecoder(step, file, steps); });
  } else if (type == "ByteLevel") {
    ReadByteLevel(object);
    steps.emplace_back(DecodeByteLevel{});
  } else if (type == "ByteFallback") {
    steps.emplace_back(DecodeByteFallback{});
  } else if (type == "Fuse") {
    steps.emplace_back(DecodeFuse{});
  } else if (type == "Replace") {
    steps.emplace_back(ReadReplace(object));
  } else if (type == "Strip") {
    DecodeStrip step{object.String("content"), object.Int("start"), object.Int("stop")};
    steps.emplace_back(std::move(step));
  } else if (type == "Metaspace") {
    steps.emplace_back(DecodeMetaspace{ReadMetaspace(object).prepend != MetaspaceWords::kNever});
  } else {
    RefuseType(object, "decoder", type,
               "Sequence, ByteLevel, ByteFallback, Fuse, Replace, Strip or Metaspace");
  }
  object.RefuseUnknownKeys();
}

void ReadPostProcessor(const Json& part, TokenizerSpec& spec) {
  JsonObject object(part, "LoadTokenizer", spec.file, "post_processor");
  const std::string type = object.String("type");
  if (type == "Sequence") {
    ForEach(object, "processors", [&](const Json& step) { ReadPostProcessor(step, spec); });
  } else if (type == "TemplateProcessing") {
    if (!spec.prefix.empty() || !spec.suffix.empty()) object.Fail("", "a second template", "one");
    ReadTemplate(object, spec);
  } else if (type == "ByteLevel") {
    ReadByteLevel(object);
  } else {
    RefuseType(object, "post-processor", type, "Sequence, TemplateProcessing or ByteLevel");
  }
  object.RefuseUnknownKeys();
}

AddedToken ReadAddedToken(const Json& part, const std::string& field, const std::string& file) {
  JsonObject object(part, "LoadTokenizer", file, field);
  AddedToken token;
  token.content = object.String("content");
  token.special = object.Bool("special", false);
  token.single_word = object.Bool("single_word", false);
  token.lstrip = object.Bool("lstrip", false);
  token.rstrip = object.Bool("rstrip", false);
  token.normalized = object.Bool("normalized", !token.special);
  if (object.Find("id") != nullptr) token.id = object.Int("id");
  object.Find("__type");  // transformers' own class name
  object.RefuseUnknownKeys();
  return token;
}

Json NormalizerJson(const TokenizerSpec& spec) {
  return StepsJson(spec.normalizers, "normalizers");
}

Json PreTokenizerJson(const TokenizerSpec& spec) {
  return StepsJson(spec.pre_tokenizers, "pretokenizers");
}

Json DecoderJson(const TokenizerSpec& spec) { return StepsJson(spec.decoders, "decoders"); }

Json PostProcessorJson(const TokenizerSpec& spec) {
  if (spec.prefix.empty() && spec.suffix.empty()) return nullptr;
  Json single = Json::array();
  Json special = Json::object();
  const auto add = [&](int32_t id, Json& pieces, int type_id) {
    const std::string name = TokenName(spec, id);
    pieces.push_back({{"SpecialToken", {{"id", name}, {"type_id", type_id}}}});
    special[name] = {{"id", name}, {"ids", {id}}, {"tokens", {name}}};
  };
  const auto add_text = [&](const char* text, Json& pieces, int type_id) {
    for (const int32_t id : spec.prefix) add(id, pieces, type_id);
    pieces.push_back({{"Sequence", {{"id", text}, {"type_id", type_id}}}});
    for (const int32_t id : spec.suffix) add(id, pieces, type_id);
  };
  add_text("A", single, 0);
  Json pair = single;
  add_text("B", pair, 1);
  return {{"type", "TemplateProcessing"},
          {"single", std::move(single)},
          {"pair", std::move(pair)},
          {"special_tokens", std::move(special)}};
}

Json AddedTokenJson(const AddedToken& token) {
  return {{"id", token.id},          {"content", token.content}, {"single_word", token.single_word},
          {"lstrip", token.lstrip},  {"rstrip", token.rstrip},   {"normalized", token.normalized},
          {"special", token.special}};
}

std::string TokenName(const TokenizerSpec& spec, int32_t id) {
  for (const AddedToken& token : spec.added) {
    if (token.id == id) return token.content;
  }
  const bool known = id >= 0 && static_cast<size_t>(id) < spec.model.tokens.size();
  return known ? spec.model.tokens[static_cast<size_t>(id)] : std::string();
}

}  // namespace rondo
