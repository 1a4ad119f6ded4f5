#include <gmock/gmock.h>

#include <cmath>
#include <map>

#include "rondo/error.h"
#include "speech/whisper_segments.h"
#include "speech/whisper_tokens.h"
#include "speech/word_times.h"

namespace rondo {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;

// Text tokens 0 to 9, specials from 10 on, timestamps from 20 on.
class WhisperVocabulary : public Tokenizer {
 public:
  std::vector<int32_t> Encode(std::string_view, const EncodeOptions&) const override { return {}; }
  std::string Decode(std::span<const int32_t> ids, bool) const override {
    std::string text;
    for (const int32_t id : ids) text += Piece(id);
    return text;
  }
  std::unique_ptr<TokenStream> StartDecode(bool, std::span<const int32_t>) const override {
    struct Stream : TokenStream {
      std::string Push(int32_t id) override { return Piece(id); }
      std::string Flush() override { return ""; }
    };
    return std::make_unique<Stream>();
  }
  int32_t vocab_size() const override { return 200; }
  int32_t bos() const override { return -1; }
  std::vector<int32_t> eos() const override { return {10}; }
  int32_t TokenId(std::string_view token) const override {
    const std::map<std::string_view, int32_t> ids = {
        {"<|endoftext|>", 10},   {"<|startoftranscript|>", 11}, {"<|en|>", 12},
        {"<|translate|>", 14},   {"<|transcribe|>", 15},        {"<|nospeech|>", 18},
        {"<|notimestamps|>", 19}};
    const auto found = ids.find(token);
    return found == ids.end() || without_ == token ? -1 : found->second;
  }
  bool IsSpecial(int32_t id) const override { return id >= 10; }
  std::string ApplyChatTemplate(std::span<const ChatMessage>, bool) const override { return ""; }
  bool HasChatTemplate() const override { return false; }

  std::string without_;

 private:
  // Even tokens begin words.
  static std::string Piece(int32_t id) {
    return (id % 2 == 0 ? " " : "") + std::string(1, static_cast<char>('a' + id));
  }
};

class WhisperRules : public testing::Test {
 protected:
  // Tokens that may follow `text`.
  std::vector<int32_t> Allowed(const std::vector<int32_t>& text, bool timestamps,
                               std::vector<float> logits = {}) const {
    if (logits.empty()) {
      logits.assign(130, 0.0f);
      for (int i = 0; i < 10; ++i) logits[static_cast<size_t>(i)] = 20;  // text is likeliest
      logits[10] = 20;
    }
    ApplyWhisperRules(tokens_, config_, text, timestamps, logits);
    std::vector<int32_t> allowed;
    for (size_t i = 0; i < logits.size(); ++i) {
      if (std::isfinite(logits[i])) allowed.push_back(static_cast<int32_t>(i));
    }
    return allowed;
  }
  WhisperTokens tokens_{WhisperVocabulary(), "test"};
  WhisperConfig config_{.suppress = {3, 11, 12, 13, 14, 15, 16, 17, 18}, .suppress_first = {7, 10}};
};

TEST_F(WhisperRules, SuppressesWhatTheModelSays) {
  EXPECT_THAT(Allowed({}, false), ElementsAre(0, 1, 2, 4, 5, 6, 8, 9));
  EXPECT_THAT(Allowed({4}, false), ElementsAre(0, 1, 2, 4, 5, 6, 7, 8, 9, 10));
}

TEST_F(WhisperRules, ATextBeginsWithATimestampWithinASecond) {
  const std::vector<int32_t> allowed = Allowed({}, true);
  EXPECT_EQ(allowed.front(), 20);
  EXPECT_EQ(allowed.back(), 70);
}

TEST_F(WhisperRules, TimestampsComeInPairsAndNeverGoBack) {
  // After the one that begins a segment, text; the end may not have the same time.
  EXPECT_THAT(Allowed({25}, true), ElementsAre(0, 1, 2, 4, 5, 6, 7, 8, 9, 10));
  const std::vector<int32_t> end = Allowed({25, 4}, true);
  EXPECT_EQ(end[10], 26);
  // After the one that ends it, another from its time on, or the end of the text.
  const std::vector<int32_t> next = Allowed({25, 4, 30}, true);
  EXPECT_EQ(next[0], 10);
  EXPECT_EQ(next[1], 30);
  EXPECT_THAT(Allowed({25, 4, 30, 30}, true), ElementsAre(0, 1, 2, 4, 5, 6, 7, 8, 9, 10));
}

TEST_F(WhisperRules, AllTimestampsTogetherCanBeLikelierThanText) {
  std::vector<float> logits(130, 0.0f);
  logits[4] = 4.5f;  // below log 104, above none of the 104 timestamps left
  EXPECT_EQ(Allowed({25, 4}, true, logits).front(), 26);
  logits[4] = 4.7f;
  EXPECT_EQ(Allowed({25, 4}, true, logits).front(), 0);
}

TEST_F(WhisperRules, ATokenizerOfAnotherModelIsRefused) {
  WhisperVocabulary other;
  other.without_ = "<|notimestamps|>";
  EXPECT_THAT([&] { WhisperTokens(other, "m"); },
              ThrowsMessage<Error>(HasSubstr("m: no token <|notimestamps|>")));
}

TEST_F(WhisperRules, SegmentsEndAtPairsOfTimestamps) {
  // Closed by a single timestamp: the window is done.
  WindowSegments s = SplitSegments(tokens_, std::vector<int32_t>{20, 4, 70, 70, 5, 6, 120}, 3.0);
  ASSERT_EQ(s.segments.size(), 2u);
  EXPECT_EQ(s.segments[0].end, 3u);
  EXPECT_DOUBLE_EQ(s.segments[0].end_seconds, 1.0);
  EXPECT_DOUBLE_EQ(s.segments[1].begin_seconds, 1.0);
  EXPECT_DOUBLE_EQ(s.segments[1].end_seconds, 2.0);
  EXPECT_DOUBLE_EQ(s.seconds, 3.0);
  // Open: what follows the last pair is read again.
  s = SplitSegments(tokens_, std::vector<int32_t>{20, 4, 70, 70, 5, 6}, 3.0);
  ASSERT_EQ(s.segments.size(), 1u);
  EXPECT_DOUBLE_EQ(s.seconds, 1.0);
  // No pair: one segment.
  s = SplitSegments(tokens_, std::vector<int32_t>{20, 4, 5, 95}, 3.0);
  ASSERT_EQ(s.segments.size(), 1u);
  EXPECT_DOUBLE_EQ(s.segments[0].end_seconds, 1.5);
  EXPECT_DOUBLE_EQ(s.seconds, 3.0);
  EXPECT_TRUE(SplitSegments(tokens_, {}, 3.0).segments.empty());
}

TEST(WordTimes, TheCheapestPathSaysWhereRowsBegin) {
  // Cheap cells: row 0 columns 0-1, row 1 columns 2-4, row 2 column 5.
  std::vector<float> cost(3 * 6, 1.0f);
  for (const int at : {0, 1, 6 + 2, 6 + 3, 6 + 4, 12 + 5}) cost[static_cast<size_t>(at)] = -1;
  EXPECT_THAT(WarpRows(cost, 3, 6), ElementsAre(0, 2, 5));
}

TEST(WordTimes, WordsBeginWithASpace) {
  const std::vector<Word> words = WordsOf(WhisperVocabulary(), std::vector<int32_t>{2, 1, 4, 6, 7},
                                          std::vector<double>{0, 0.5, 1, 1.5, 2, 2.5});
  ASSERT_EQ(words.size(), 3u);
  EXPECT_EQ(words[0].text, "cb");
  EXPECT_EQ(words[0].end, 1);
  EXPECT_EQ(words[2].text, "gh");
  EXPECT_EQ(words[2].begin, 1.5);
  EXPECT_EQ(words[2].end, 2.5);
}

}  // namespace
}  // namespace rondo
