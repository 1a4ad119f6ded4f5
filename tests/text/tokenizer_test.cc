#include <thread>
#include <vector>

#include "text/text_testing.h"

namespace rondo {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(TokenizerTest, MergesBestPairsFirst) {
  const auto tokenizer = LoadJson(TinyTokenizerJson().dump());
  EXPECT_THAT(tokenizer->Encode("hello hell"), ElementsAre(258, 'o', 259));
  EXPECT_THAT(tokenizer->Encode("lll"), ElementsAre(257, 'l'));
  EXPECT_THAT(tokenizer->Encode(""), IsEmpty());
}

TEST(TokenizerTest, FindsSpecialTokensUnlessTold) {
  const auto tokenizer = LoadJson(TinyTokenizerJson().dump());
  EXPECT_THAT(tokenizer->Encode("h<s>"), ElementsAre('h', 260));
  EXPECT_THAT(tokenizer->Encode("<s>", {.parse_special = false}), ElementsAre('<', 's', '>'));
  EXPECT_TRUE(tokenizer->IsSpecial(260));
  EXPECT_FALSE(tokenizer->IsSpecial(258));
  EXPECT_FALSE(tokenizer->IsSpecial(-1));
  EXPECT_FALSE(tokenizer->IsSpecial(1 << 30));
  EXPECT_EQ(tokenizer->TokenId("</s>"), 261);
  EXPECT_EQ(tokenizer->TokenId("nothing"), -1);
  EXPECT_EQ(tokenizer->vocab_size(), 262);
}

TEST(TokenizerTest, FramesTextAsThePostProcessorSays) {
  nlohmann::json json = TinyTokenizerJson();
  json["post_processor"] = {
      {"type", "TemplateProcessing"},
      {"single",
       {{{"SpecialToken", {{"id", "<s>"}, {"type_id", 0}}}},
        {{"Sequence", {{"id", "A"}, {"type_id", 0}}}}}},
      {"pair", nlohmann::json::array()},
      {"special_tokens", {{"<s>", {{"id", "<s>"}, {"ids", {260}}, {"tokens", {"<s>"}}}}}}};
  const auto tokenizer =
      LoadJson(json.dump(), R"({"bos_token": "<s>", "eos_token": {"content": "</s>"}})");
  EXPECT_EQ(tokenizer->bos(), 260);
  EXPECT_THAT(tokenizer->eos(), ElementsAre(261));
  EXPECT_THAT(tokenizer->Encode("h"), ElementsAre(260, 'h'));
  EXPECT_THAT(tokenizer->Encode("h", {.add_special = false}), ElementsAre('h'));
}

TEST(TokenizerTest, ReadsBrokenUtf8AsReplacementCharacters) {
  const auto tokenizer = LoadJson(TinyTokenizerJson().dump());
  EXPECT_EQ(tokenizer->Encode("a\xFF\xC3"), tokenizer->Encode("a\uFFFD\uFFFD"));
  EXPECT_EQ(tokenizer->Encode("\xF0\x9F\x91"), tokenizer->Encode("\uFFFD"));
}

TEST(TokenizerTest, DecodesAndPassesOverUnknownIds) {
  const auto tokenizer = LoadJson(TinyTokenizerJson().dump());
  const std::vector<int32_t> ids = {260, 258, -5, 'o', 1 << 30, 261};
  EXPECT_EQ(tokenizer->Decode(ids), "hello");
  EXPECT_EQ(tokenizer->Decode(ids, false), "<s>hello</s>");
}

TEST(StreamDecoderTest, NeverEmitsHalfACharacter) {
  const auto tokenizer = LoadJson(TinyTokenizerJson().dump());
  const std::vector<int32_t> bytes = {'a', 0xE4, 0xBD, 0xA0, 'b', 0xF0, 0x9F};
  StreamDecoder stream(*tokenizer);
  std::vector<std::string> pieces;
  for (const int32_t id : bytes) pieces.push_back(stream.Push(id));
  pieces.push_back(stream.Flush());
  EXPECT_THAT(pieces, ElementsAre("a", "", "", "你", "b", "", "", "\uFFFD"));
}

TEST(TokenizerTest, GivesTheSameIdsToManyThreads) {
  const auto tokenizer = LoadJson(TinyTokenizerJson().dump());
  std::string text;
  for (int i = 0; i < 2000; ++i) text += "hello hell " + std::to_string(i % 37);
  const auto expected = tokenizer->Encode(text);
  std::vector<std::vector<int32_t>> results(4);
  std::vector<std::thread> threads;
  for (auto& result : results) {
    threads.emplace_back([&] { result = tokenizer->Encode(text); });
  }
  for (std::thread& thread : threads) thread.join();
  for (const auto& result : results) EXPECT_EQ(result, expected);
}

TEST(TokenizerTest, LongTextsEqualTheirParts) {
  // Long texts go through the memory of words, short ones do not.
  const auto tokenizer = LoadJson(TinyTokenizerJson().dump());
  std::string text;
  std::vector<int32_t> expected;
  for (int i = 0; i < 3000; ++i) {
    const std::string part = (i % 3 == 0 ? " hell" : " hello") + std::to_string(i * i);
    const auto ids = tokenizer->Encode(part);
    expected.insert(expected.end(), ids.begin(), ids.end());
    text += part;
  }
  EXPECT_EQ(tokenizer->Encode(text), expected);
}

TEST(TokenizerTest, WritesFilesThatItReadsBack) {
  const TempDir directory;
  const std::string model = std::string(RONDO_TEST_DATA) + "/models/stories260K/stories260K.bin";
  WriteTokenizerFiles(model, directory.File(""));
  const std::string text = "Once upon a time,  there was\n\té 你 <s> x";
  EXPECT_EQ(LoadTokenizer(directory.File(""))->Encode(text), LoadTokenizer(model)->Encode(text));
}

TEST(StreamDecoderTest, KeepsTheSpaceBehindEarlierTokens) {
  const std::string model = std::string(RONDO_TEST_DATA) + "/models/stories260K/stories260K.bin";
  const auto tokenizer = LoadTokenizer(model);
  const auto prompt = tokenizer->Encode("Lily");
  const auto more = tokenizer->Encode("and", {.add_special = false});  // its first token is "▁and"
  const auto stream = [&](std::span<const int32_t> before) {
    StreamDecoder decoder(*tokenizer, true, before);
    std::string text;
    for (const int32_t id : more) text += decoder.Push(id);
    return text + decoder.Flush();
  };
  EXPECT_EQ(stream({}), "and");
  EXPECT_EQ(stream(prompt), " and");
  EXPECT_EQ(stream(std::span(prompt).first(1)), "and");  // BOS is no text
}

TEST(TokenizerTest, UnknownPreTokenizerNamesAreRefused) {
  ExpectError([] { SetPreTokenizer("mystery"); }, "llama-bpe");
  SetPreTokenizer("");
}

TEST(TokenizerTest, SaysWhenThereIsNone) {
  const TempDir directory;
  ExpectError([&] { LoadTokenizer(directory.File("")); }, "no tokenizer");
  WriteTokenizerFiles(directory.File(""), directory.File(""));  // nothing to do
  ExpectError([&] { LoadTokenizer(directory.File("absent.json")); }, "absent.json");
}

}  // namespace
}  // namespace rondo
