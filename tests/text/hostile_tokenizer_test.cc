// Malformed and hostile tokenizer files: each ends in rondo::Error, whatever the sanitizers watch.
#include <functional>
#include <limits>

#include "formats/gguf.h"
#include "text/text_testing.h"

namespace rondo {
namespace {

using Json = nlohmann::json;
using Change = std::function<void(Json&)>;

struct BadJson {
  const char* name;
  Change change;
  const char* message;  // part of the error
};

void PrintTo(const BadJson& bad, std::ostream* out) { *out << bad.name; }

Json Deep(int levels) {
  Json value = 1;
  for (int i = 0; i < levels; ++i) value = Json::array({value});
  return value;
}

Json Split(const std::string& regex) {
  return {{"type", "Sequence"},
          {"pretokenizers",
           {{{"type", "Split"}, {"pattern", {{"Regex", regex}}}, {"behavior", "Isolated"}},
            {{"type", "ByteLevel"}, {"use_regex", false}, {"add_prefix_space", false}}}}};
}

const std::vector<BadJson>& BadTokenizers() {
  static const std::vector<BadJson> bad = {
      {"HugeId", [](Json& j) { j["model"]["vocab"]["x"] = 4'000'000'000u; }, "has the id"},
      {"LargeId", [](Json& j) { j["model"]["vocab"]["x"] = 2'000'000'000; }, "has the id"},
      {"NegativeId", [](Json& j) { j["model"]["vocab"]["xx"] = -1; }, "has the id"},
      {"FractionId", [](Json& j) { j["model"]["vocab"]["xx"] = 1.5; }, "has the id"},
      {"TextId", [](Json& j) { j["model"]["vocab"]["xx"] = "7"; }, "has the id"},
      {"SharedId", [](Json& j) { j["model"]["vocab"]["xx"] = 256; }, "same id"},
      {"NoVocab", [](Json& j) { j["model"].erase("vocab"); }, "vocab"},
      {"EmptyVocab",
       [](Json& j) {
         j["model"]["vocab"] = Json::object();
         j["model"]["merges"] = Json::array();
       },
       "empty vocabulary"},
      {"VocabIsList", [](Json& j) { j["model"]["vocab"] = Json::array(); }, "vocab"},
      {"UnknownMergePart", [](Json& j) { j["model"]["merges"].push_back("q zz"); }, "zz"},
      {"UnknownMergeResult", [](Json& j) { j["model"]["merges"].push_back("q z"); }, "qz"},
      {"MergeWithNothing", [](Json& j) { j["model"]["merges"].push_back("h "); }, "nothing"},
      {"CyclicMerge",
       [](Json& j) {
         j["model"]["merges"].push_back(Json::array({"", "h"}));
       },
       "nothing"},
      {"MergeOfThree", [](Json& j) { j["model"]["merges"].push_back("h e l"); }, "two tokens"},
      {"MergeOfNumbers", [](Json& j) { j["model"]["merges"].push_back(7); }, "two tokens"},
      {"MergesIsText", [](Json& j) { j["model"]["merges"] = "h e"; }, "merges"},
      {"Unigram", [](Json& j) { j["model"]["type"] = "Unigram"; }, "Unigram"},
      {"WordPiece", [](Json& j) { j["model"]["type"] = "WordPiece"; }, "WordPiece"},
      {"UnigramScores",
       [](Json& j) {
         j["model"] = {{"type", "Unigram"}, {"vocab", Json::array({Json::array({"a", "b"})})}};
       },
       "log probability"},
      {"UnigramUnknown",
       [](Json& j) {
         j["pre_tokenizer"] = nullptr;
         j["added_tokens"] = nullptr;
         j["model"] = {{"type", "Unigram"},
                       {"vocab", Json::array({Json::array({"a", -1.0})})},
                       {"unk_id", 7}};
       },
       "unk_token"},
      {"UnigramOfBytes",
       [](Json& j) {
         j["model"] = {{"type", "Unigram"},
                       {"vocab", Json::array({Json::array({"a", -1.0})})},
                       {"unk_id", 0}};
       },
       "ByteLevel"},
      {"Dropout", [](Json& j) { j["model"]["dropout"] = 0.1; }, "dropout"},
      {"Affix", [](Json& j) { j["model"]["end_of_word_suffix"] = "</w>"; }, "end_of_word_suffix"},
      {"UnknownIsNoToken", [](Json& j) { j["model"]["unk_token"] = "<nope>"; }, "unk_token"},
      {"UnknownModelKey", [](Json& j) { j["model"]["secret"] = 1; }, "secret"},
      {"UnknownKey", [](Json& j) { j["secret"] = 1; }, "secret"},
      {"Normalizer",
       [](Json& j) {
         j["normalizer"] = {{"type", "Mystery"}};
       },
       "one of Sequence, NFC"},
      {"NormalizerInside",
       [](Json& j) {
         j["normalizer"] = {{"type", "Sequence"}, {"normalizers", {{{"type", "Precompiled"}}}}};
       },
       "Precompiled"},
      {"PreTokenizer",
       [](Json& j) {
         j["pre_tokenizer"] = {{"type", "UnicodeScripts"}};
       },
       "UnicodeScripts"},
      {"AfterByteLevel",
       [](Json& j) {
         j["pre_tokenizer"] = {{"type", "Sequence"},
                               {"pretokenizers", {{{"type", "ByteLevel"}}, {{"type", "Digits"}}}}};
       },
       "ByteLevel"},
      {"PostProcessor",
       [](Json& j) {
         j["post_processor"] = {{"type", "Mystery"}};
       },
       "Mystery"},
      {"BertFrame",
       [](Json& j) {
         j["post_processor"] = {
             {"type", "BertProcessing"}, {"cls", {"<s>", "x"}}, {"sep", {"<s>", 260}}};
       },
       "cls"},
      {"TemplateId",
       [](Json& j) {
         j["post_processor"] = {
             {"type", "TemplateProcessing"},
             {"single",
              {{{"SpecialToken", {{"id", "<s>"}, {"type_id", 0}}}},
               {{"Sequence", {{"id", "A"}, {"type_id", 0}}}}}},
             {"pair", Json::array()},
             {"special_tokens", {{"<s>", {{"id", "<s>"}, {"ids", {99999}}, {"tokens", {"<s>"}}}}}}};
       },
       "post_processor"},
      {"TemplateWithoutText",
       [](Json& j) {
         j["post_processor"] = {{"type", "TemplateProcessing"},
                                {"single", Json::array()},
                                {"special_tokens", Json::object()}};
       },
       "text"},
      {"Decoder",
       [](Json& j) {
         j["decoder"] = {{"type", "CTC"}};
       },
       "CTC"},
      {"DecoderWithoutSuffix",
       [](Json& j) {
         j["decoder"] = {{"type", "BPEDecoder"}, {"suffix", ""}};
       },
       "suffix"},
      {"DecoderOrder",
       [](Json& j) {
         j["decoder"] = {{"type", "Sequence"},
                         {"decoders", {{{"type", "Fuse"}}, {{"type", "ByteFallback"}}}}};
       },
       "Fuse"},
      {"AddedIdFarAway", [](Json& j) { j["added_tokens"][0]["id"] = 1'000'000; }, "near"},
      {"AddedIdTaken", [](Json& j) { j["added_tokens"][0]["id"] = 258; }, "hell"},
      {"AddedTwice", [](Json& j) { j["added_tokens"][0]["id"] = 261; }, "twice"},
      {"AddedEmpty", [](Json& j) { j["added_tokens"][0]["content"] = ""; }, "content"},
      {"AddedLong", [](Json& j) { j["added_tokens"][0]["content"] = std::string(100'000, 'a'); },
       "content"},
      {"AddedKey", [](Json& j) { j["added_tokens"][0]["secret"] = 1; }, "secret"},
      {"AddedIsNumber", [](Json& j) { j["added_tokens"] = 7; }, "added_tokens"},
      {"DeepJson", [](Json& j) { j["truncation"] = Deep(100); }, "nested"},
      {"BadRegex", [](Json& j) { j["pre_tokenizer"] = Split("(a"); }, "regular expression"},
      {"RegexBackreference", [](Json& j) { j["pre_tokenizer"] = Split(R"((a)\1)"); }, "\\1"},
      {"RegexWordClass", [](Json& j) { j["pre_tokenizer"] = Split(R"([\W]+)"); }, "\\W"},
      {"RegexScript", [](Json& j) { j["pre_tokenizer"] = Split(R"(\p{Han})"); }, "Han"},
      {"RegexIntersection", [](Json& j) { j["pre_tokenizer"] = Split("[a-z&&[b]]"); }, "&&"},
      {"RegexCallout", [](Json& j) { j["pre_tokenizer"] = Split("(?C1)a"); }, "(?C"},
      {"RegexVerb", [](Json& j) { j["pre_tokenizer"] = Split("(*NO_JIT)a"); }, "(*"},
      {"RegexHuge",
       [](Json& j) { j["pre_tokenizer"] = Split("((((a{1000}){1000}){1000}){1000})"); },
       "regular expression"},
      {"RegexLong", [](Json& j) { j["pre_tokenizer"] = Split(std::string(1 << 20, 'a')); },
       "16 KiB"},
      {"RegexDeep",
       [](Json& j) { j["pre_tokenizer"] = Split(std::string(8000, '(') + std::string(8000, ')')); },
       "regular expression"},
      {"Metaspace",
       [](Json& j) {
         j["pre_tokenizer"] = {{"type", "Metaspace"}, {"replacement", "_"}, {"split", true}};
       },
       "replacement"},
      {"ByteFallbackInByteLevel", [](Json& j) { j["model"]["byte_fallback"] = true; },
       "byte_fallback"},
  };
  return bad;
}

class HostileTokenizerTest : public testing::TestWithParam<BadJson> {};

TEST_P(HostileTokenizerTest, EndsInAnError) {
  Json json = TinyTokenizerJson();
  GetParam().change(json);
  ExpectError([&] { LoadJson(json.dump()); }, GetParam().message);
}

INSTANTIATE_TEST_SUITE_P(All, HostileTokenizerTest, testing::ValuesIn(BadTokenizers()),
                         [](const auto& test) { return test.param.name; });

TEST(HostileTokenizer, TruncatedAnywhere) {
  const std::string text = TinyTokenizerJson().dump();
  for (size_t size = 0; size < text.size(); size += 97) {
    ExpectError([&] { LoadJson(text.substr(0, size)); }, "tokenizer.json");
  }
}

TEST(HostileTokenizer, DuplicateTokenInTheText) {
  std::string text = TinyTokenizerJson().dump();
  text.insert(text.find("\"he\":"), "\"he\":3,");
  ExpectError([&] { LoadJson(text); }, "twice");
}

TEST(HostileTokenizer, RegexBombGivesUp) {
  Json json = TinyTokenizerJson();
  json["pre_tokenizer"] = Split("(a+)+$x|(a|a)*b");
  const auto tokenizer = LoadJson(json.dump());
  ExpectError([&] { tokenizer->Encode(std::string(5000, 'a')); }, "gave up");
}

TEST(HostileTokenizer, BadConfig) {
  const std::string json = TinyTokenizerJson().dump();
  ExpectError([&] { LoadJson(json, "[]"); }, "tokenizer_config.json");
  ExpectError([&] { LoadJson(json, R"({"added_tokens_decoder": {"x": {"content": "<x>"}}})"); },
              "added_tokens_decoder");
  ExpectError(
      [&] { LoadJson(json, R"({"added_tokens_decoder": {"4000000000": {"content": "y"}}})"); },
      "added_tokens_decoder");
  ExpectError([&] { LoadJson(json, R"({"chat_template": [{"name": 1}]})"); }, "chat_template");
}

// --- SentencePiece and llama2.c files
// ----------------------------------------------------------------

std::string StoriesFile(const char* name) {
  return std::string(RONDO_TEST_DATA) + "/models/stories260K/" + name;
}

std::string ReadAll(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

// Cut at every length and with every byte changed: an error or a tokenizer, never a crash.
void ExpectNoCrash(const std::string& bytes, const std::string& name) {
  const TempDir directory;
  const std::string file = directory.File(name);
  const auto load = [&](const std::string& content) {
    WriteFile(file, content);
    try {
      LoadTokenizer(file)->Encode("Once upon a time, <s> é");
    } catch (const Error&) {
    }
  };
  for (size_t size = 0; size < bytes.size(); size += 61) load(bytes.substr(0, size));
  for (size_t place = 0; place < bytes.size(); place += 37) {
    std::string changed = bytes;
    changed[place] = static_cast<char>(~changed[place]);
    load(changed);
  }
}

TEST(HostileTokenizer, DamagedJson) { ExpectNoCrash(TinyTokenizerJson().dump(), "tokenizer.json"); }

TEST(HostileTokenizer, DamagedSentencePiece) {
  ExpectNoCrash(ReadAll(StoriesFile("tok512.model")), "tokenizer.model");
}

TEST(HostileTokenizer, DamagedLlama2c) {
  ExpectNoCrash(ReadAll(StoriesFile("tok512.bin")), "tok.bin");
}

TEST(HostileTokenizer, RefusesOtherSentencePieceModels) {
  const TempDir directory;
  const std::string file = directory.File("tokenizer.model");
  WriteFile(file, std::string("\x12\x02\x18\x03", 4));  // trainer_spec { model_type: WORD }
  ExpectError([&] { LoadTokenizer(file); }, "'word'");
  WriteFile(file,
            std::string("\x1a\x03\x12\x01x", 5));  // normalizer_spec { precompiled_charsmap: "x" }
  ExpectError([&] { LoadTokenizer(file); }, "character map");
  WriteFile(file, "\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f");  // a piece of 2^63 bytes
  ExpectError([&] { LoadTokenizer(file); }, "truncated");
}

TEST(HostileTokenizer, Llama2cWithAbsurdLengths) {
  const TempDir directory;
  const std::string file = directory.File("tok.bin");
  std::string bytes = ReadAll(StoriesFile("tok512.bin"));
  bytes[8] = bytes[9] = bytes[10] = '\x7f';  // length of the first token
  WriteFile(file, bytes);
  ExpectError([&] { LoadTokenizer(file); }, "bytes");
}

// --- GGUF
// --------------------------------------------------------------------------------------------

struct BadGguf {
  const char* name;
  std::function<void(GgufWriter&)> change;
  const char* message;
};

void PrintTo(const BadGguf& bad, std::ostream* out) { *out << bad.name; }

void SetScoredVocab(GgufWriter& writer, std::vector<float> scores, std::vector<int32_t> types) {
  writer.SetString("tokenizer.ggml.model", "llama");
  writer.SetStrings("tokenizer.ggml.tokens", {"<unk>", "<s>", "</s>", "a", "b", "ab"});
  writer.SetF32s("tokenizer.ggml.scores", std::move(scores));
  writer.SetI32s("tokenizer.ggml.token_type", std::move(types));
}

void SetByteVocab(GgufWriter& writer, const std::string& pre, std::vector<std::string> tokens,
                  std::vector<std::string> merges) {
  writer.SetString("tokenizer.ggml.model", "gpt2");
  writer.SetString("tokenizer.ggml.pre", pre);
  writer.SetStrings("tokenizer.ggml.tokens", std::move(tokens));
  writer.SetStrings("tokenizer.ggml.merges", std::move(merges));
}

const std::vector<int32_t> kTypes = {2, 3, 3, 1, 1, 1};

const std::vector<BadGguf>& BadGgufs() {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  static const std::vector<BadGguf> bad = {
      {"FewScores",
       [](GgufWriter& w) {
         SetScoredVocab(w, {0, 0, 0}, kTypes);
       },
       "scores"},
      {"NanScore",
       [](GgufWriter& w) {
         SetScoredVocab(w, {0, 0, 0, kNan, 0, 0}, kTypes);
       },
       "finite"},
      {"FewTypes",
       [](GgufWriter& w) {
         SetScoredVocab(w, {0, 0, 0, 0, 0, 0}, {1});
       },
       "token_type"},
      {"BadType",
       [](GgufWriter& w) {
         SetScoredVocab(w, {0, 0, 0, 0, 0, 0}, {2, 3, 3, 1, 1, 77});
       },
       "type 77"},
      {"BosOutside",
       [](GgufWriter& w) {
         SetScoredVocab(w, {0, 0, 0, 0, 0, 0}, kTypes);
         w.SetU32("tokenizer.ggml.bos_token_id", 4'000'000'000u);
       },
       "bos_token_id"},
      {"Kind",
       [](GgufWriter& w) {
         w.SetString("tokenizer.ggml.model", "bert");
         w.SetStrings("tokenizer.ggml.tokens", {"a"});
       },
       "bert"},
      {"NoTokens", [](GgufWriter& w) { w.SetString("tokenizer.ggml.model", "gpt2"); }, "tokens"},
      {"TokensAreNumbers",
       [](GgufWriter& w) {
         w.SetString("tokenizer.ggml.model", "gpt2");
         w.SetI32s("tokenizer.ggml.tokens", {1, 2});
       },
       "tokens"},
      {"Pre", [](GgufWriter& w) { SetByteVocab(w, "mystery", {"a"}, {}); }, "mystery"},
      {"Merge",
       [](GgufWriter& w) {
         SetByteVocab(w, "gpt-2", {"a", "b"}, {"a b"});
       },
       "ab"},
      {"NotUtf8",
       [](GgufWriter& w) {
         SetByteVocab(w, "gpt-2", {"a", "\xff"}, {});
       },
       "UTF-8"},
  };
  return bad;
}

TEST(HostileGgufVocab, ANamedPreTokenizerStandsForAnUnknownOne) {
  const TempDir directory;
  const std::string file = directory.File("vocab.gguf");
  GgufWriter writer;
  writer.SetString("general.architecture", "llama");
  SetByteVocab(writer, "mystery", {"a", "b", "ab"}, {"a b"});
  writer.Write(file);
  ExpectError([&] { LoadTokenizer(file); }, "mystery");
  SetPreTokenizer("gpt-2");
  EXPECT_THAT(LoadTokenizer(file)->Encode("aba"), testing::ElementsAre(2, 0));
  SetPreTokenizer("");
}

TEST(HostileGgufVocab, OfTwoEqualTokensTheFirstCounts) {
  const TempDir directory;
  const std::string file = directory.File("vocab.gguf");
  GgufWriter writer;
  writer.SetString("general.architecture", "llama");
  SetByteVocab(writer, "gpt-2", {"a", "b", "ab", "a", "ab"}, {"a b"});
  writer.Write(file);
  const auto tokenizer = LoadTokenizer(file);
  EXPECT_THAT(tokenizer->Encode("aba"), testing::ElementsAre(2, 0));
  EXPECT_EQ(tokenizer->Decode(std::vector<int32_t>{3, 4}), "aab");
}

class HostileGgufVocabTest : public testing::TestWithParam<BadGguf> {};

TEST_P(HostileGgufVocabTest, EndsInAnError) {
  const TempDir directory;
  const std::string file = directory.File("vocab.gguf");
  GgufWriter writer;
  writer.SetString("general.architecture", "llama");
  GetParam().change(writer);
  writer.Write(file);
  ExpectError([&] { LoadTokenizer(file); }, GetParam().message);
}

INSTANTIATE_TEST_SUITE_P(All, HostileGgufVocabTest, testing::ValuesIn(BadGgufs()),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace rondo
