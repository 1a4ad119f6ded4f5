#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <map>

#include "kernels/log_softmax.h"
#include "rondo/error.h"
#include "rondo/recognizer.h"
#include "rondo/thread_pool.h"
#include "speech/attention_search.h"
#include "speech/ctc_search.h"
#include "speech/encoder.h"
#include "speech/heads.h"
#include "speech/random_speech_model.h"
#include "speech/transducer_search.h"

namespace rondo {
namespace {

using Text = std::vector<int32_t>;

std::vector<float> RandomLogProbs(int64_t rows, int64_t width, uint64_t seed) {
  Rng rng(seed);
  std::vector<float> x(static_cast<size_t>(rows * width));
  for (float& value : x) value = static_cast<float>(2 * rng.Normal());
  LogSoftmax(x, width);
  return x;
}

// Probability of every text, summed over all paths.
std::map<Text, double> CtcTexts(const std::vector<float>& log_p, int64_t rows, int32_t width) {
  std::map<Text, double> texts;
  const std::function<void(int64_t, Text, int32_t, double)> go = [&](int64_t t, Text text,
                                                                     int32_t last, double p) {
    if (t == rows) {
      texts[text] += p;
      return;
    }
    for (int32_t unit = 0; unit < width; ++unit) {
      Text longer = text;
      if (unit != kBlankUnit && unit != last) longer.push_back(unit);
      go(t + 1, longer, unit, p * std::exp(log_p[static_cast<size_t>(t * width + unit)]));
    }
  };
  go(0, {}, kBlankUnit, 1);
  return texts;
}

std::pair<Text, double> Best(const std::map<Text, double>& texts) {
  return *std::ranges::max_element(texts, {}, [](const auto& entry) { return entry.second; });
}

TEST(CtcSearchTest, AWideBeamFindsTheMostProbableText) {
  int better_than_greedy = 0;
  for (uint64_t seed = 1; seed <= 30; ++seed) {
    const std::vector<float> log_p = RandomLogProbs(5, 4, seed);
    const auto [text, p] = Best(CtcTexts(log_p, 5, 4));
    CtcSearch wide(1000, 4), greedy(1, 4);
    wide.Push(log_p);
    greedy.Push(log_p);
    EXPECT_EQ(wide.Best()[0].units, text);
    EXPECT_NEAR(wide.Best()[0].log_p, std::log(p), 1e-5);
    better_than_greedy += greedy.Best()[0].units != text;
  }
  EXPECT_GT(better_than_greedy, 0);
}

TEST(CtcSearchTest, GreedyCollapsesRunsAndKeepsPositions) {
  std::vector<float> log_p(7 * 3, -5.0f);
  const int path[] = {1, 1, 0, 1, 2, 2, 0};
  for (size_t t = 0; t < 7; ++t) log_p[t * 3 + static_cast<size_t>(path[t])] = -0.1f;
  for (const int beam : {1, 8}) {
    CtcSearch search(beam, 3);
    search.Push(std::span(log_p).first(9));
    search.Push(std::span(log_p).subspan(9));
    EXPECT_EQ(search.Best()[0].units, (Text{1, 1, 2}));
    EXPECT_EQ(search.Best()[0].positions, (std::vector<int64_t>{0, 3, 4}));
  }
}

// Probability of every text of at most two units a position, summed over all ways.
std::map<Text, double> TransducerTexts(const SpeechHeads& heads, const std::vector<float>& inputs,
                                       int64_t rows, int at_once) {
  std::map<Text, double> texts;
  const auto width = static_cast<size_t>(heads.width());
  const std::function<void(int64_t, int, Text, double)> go = [&](int64_t t, int written, Text text,
                                                                 double p) {
    if (t == rows) {
      texts[text] += p;
      return;
    }
    const std::vector<float> log_p = heads.Join(
        std::span(inputs).subspan(static_cast<size_t>(t) * width, width), heads.Predict(text));
    go(t + 1, 0, text, p * std::exp(log_p[kBlankUnit]));
    if (written == at_once) return;
    for (int32_t unit = 1; unit < heads.units(); ++unit) {
      Text longer = text;
      longer.push_back(unit);
      go(t, written + 1, longer, p * std::exp(log_p[static_cast<size_t>(unit)]));
    }
  };
  go(0, 0, {}, 1);
  return texts;
}

TEST(TransducerSearchTest, AWideBeamFindsTheMostProbableText) {
  ThreadPool pool(1);
  const SpeechModel model = RandomSpeechModel({.ctc = false, .transducer = true});
  const SpeechHeads heads(model, {}, pool);
  Rng rng(3);
  for (int i = 0; i < 5; ++i) {
    std::vector<float> hidden(2 * 16);
    for (float& value : hidden) value = static_cast<float>(2 * rng.Normal());
    const auto [text, p] = Best(TransducerTexts(heads, heads.JoinerInput(hidden), 2, 2));
    TransducerSearch wide(heads, 5000, 2);
    wide.Push(hidden);
    EXPECT_EQ(wide.Best()[0].units, text);
    EXPECT_NEAR(wide.Best()[0].log_p, std::log(p), 1e-4);
  }
}

TEST(AttentionSearchTest, AWideBeamFindsTheMostProbableText) {
  ThreadPool pool(1);
  const SpeechModel model = RandomSpeechModel({.decoder = true});
  const SpeechDecoder decoder(model, {}, pool);
  std::vector<float> hidden(10 * 16);
  Rng rng(5);
  for (float& value : hidden) value = static_cast<float>(rng.Normal());
  const DecoderMemory memory = decoder.Remember(hidden);
  // Every text of up to two units, by its whole score.
  Text best;
  double best_p = ScoreText(decoder, memory, kTranscribeUnit, {});
  const auto consider = [&](const Text& text) {
    const double p = ScoreText(decoder, memory, kTranscribeUnit, text);
    if (p > best_p) std::tie(best, best_p) = std::pair(text, p);
  };
  for (int32_t a = kFirstTextUnit; a < 9; ++a) {
    consider({a});
    for (int32_t b = kFirstTextUnit; b < 9; ++b) consider({a, b});
  }
  const Prefix found =
      SearchAttention(decoder, memory, kTranscribeUnit, {.beam = 500, .max_units = 3});
  ASSERT_LE(found.units.size(), 2u);
  EXPECT_EQ(found.units, best);
  EXPECT_NEAR(found.log_p, best_p, 1e-4);
}

std::vector<float> RandomFeatures(int64_t frames) {
  Rng rng(11);
  std::vector<float> values(static_cast<size_t>(frames * 8));
  for (float& value : values) value = static_cast<float>(2 * rng.Normal());
  return values;
}

TEST(RecognizerTest, StreamsEndWithTheWholeResult) {
  ThreadPool pool(1);
  const SpeechModel model = RandomSpeechModel({.transducer = true});
  const Recognizer recognizer(model, {}, pool);
  const std::vector<float> features = RandomFeatures(200);
  for (const SearchKind kind : {SearchKind::kCtc, SearchKind::kTransducer}) {
    for (const int beam : {1, 4}) {
      const SearchOptions options{
          .kind = kind, .beam = beam, .context = AttentionContext{.chunk = 5, .left_chunks = 2}};
      const Recognition whole = recognizer.Recognize(features, options);
      RecognizerStream stream(recognizer, options);
      for (int utterance = 0; utterance < 2; ++utterance) {
        for (size_t at = 0; at < features.size(); at += 7 * 8) {
          stream.Push(std::span(features).subspan(at, std::min<size_t>(56, features.size() - at)));
        }
        stream.Finish();
        EXPECT_EQ(stream.Result().units, whole.units);
        EXPECT_EQ(stream.Result().positions, whole.positions);
        EXPECT_EQ(stream.Result().log_p, whole.log_p);
        stream.Reset();
      }
    }
  }
}

TEST(RecognizerTest, RefusesSearchesWithoutAHead) {
  ThreadPool pool(1);
  const Recognizer recognizer(RandomSpeechModel({}), {}, pool);
  const std::vector<float> features = RandomFeatures(20);
  EXPECT_THROW(recognizer.Recognize(features, {.kind = SearchKind::kTransducer}), Error);
  EXPECT_THROW(recognizer.Recognize(features, {.kind = SearchKind::kAttention}), Error);
  EXPECT_THROW(recognizer.Recognize(features, {.translate = true}), Error);
  EXPECT_THROW(recognizer.Recognize(features, {.beam = 0}), Error);
  EXPECT_NO_THROW(recognizer.Recognize(features, {}));
}

TEST(RecognizerTest, JointSearchPrefersWhatBothLike) {
  ThreadPool pool(1);
  const SpeechModel model = RandomSpeechModel({.decoder = true});
  const Recognizer recognizer(model, {}, pool);
  const std::vector<float> features = RandomFeatures(40);
  const Recognition ctc = recognizer.Recognize(features, {.kind = SearchKind::kCtc, .beam = 6});
  const Recognition joint =
      recognizer.Recognize(features, {.kind = SearchKind::kJoint, .beam = 6, .ctc_weight = 1});
  EXPECT_EQ(joint.units, ctc.units);
  EXPECT_NEAR(joint.log_p, ctc.log_p, 1e-9);

  // CTC's six best texts with both scores: the best of their means is found, and has it.
  const std::vector<float> hidden = SpeechEncoder(model, {}, pool).Run(features, {});
  CtcSearch search(6, model.config.units.count);
  search.Push(SpeechHeads(model, {}, pool).Ctc(hidden));
  const SpeechDecoder decoder(model, {}, pool);
  const DecoderMemory memory = decoder.Remember(hidden);
  std::map<Text, double> means;
  for (const Prefix& prefix : search.Best()) {
    const double decoded = ScoreText(decoder, memory, kTranscribeUnit, prefix.units);
    means[prefix.units] = 0.3 * prefix.log_p + 0.7 * decoded;
  }
  ASSERT_EQ(means.size(), 6u);
  const Recognition both =
      recognizer.Recognize(features, {.kind = SearchKind::kJoint, .beam = 6, .ctc_weight = 0.3});
  EXPECT_EQ(both.units, Best(means).first);
  EXPECT_NEAR(both.log_p, Best(means).second, 1e-9);
}

}  // namespace
}  // namespace rondo
