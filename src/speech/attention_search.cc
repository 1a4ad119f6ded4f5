#include "speech/attention_search.h"

#include <algorithm>

#include "kernels/log_softmax.h"

namespace rondo {
namespace {

struct Growing {
  Prefix prefix;
  DecoderText text;
  std::vector<float> log_p;  // of what comes next
};

struct Choice {
  size_t from;
  int32_t unit;
  double log_p;
};

// The best continuations of a beam by units of text and the end.
std::vector<Choice> BestChoices(const std::vector<Growing>& beam, const SearchOptions& options) {
  std::vector<Choice> choices;
  for (size_t i = 0; i < beam.size(); ++i) {
    for (size_t unit = 0; unit < beam[i].log_p.size(); ++unit) {
      const bool end = unit == kEndUnit;
      if (!end && unit < kFirstTextUnit) continue;
      const double bonus = end ? 0 : options.length_bonus;
      choices.push_back(
          {i, static_cast<int32_t>(unit), beam[i].prefix.log_p + beam[i].log_p[unit] + bonus});
    }
  }
  const auto keep = std::min(choices.size(), static_cast<size_t>(std::max(1, options.beam)));
  std::ranges::partial_sort(choices, choices.begin() + static_cast<int64_t>(keep),
                            [](const Choice& a, const Choice& b) { return a.log_p > b.log_p; });
  choices.resize(keep);
  return choices;
}

void Advance(const SpeechDecoder& decoder, const DecoderMemory& memory,
             std::vector<Growing>& beam) {
  std::vector<DecoderText*> texts;
  std::vector<int32_t> last;
  for (Growing& growing : beam) {
    texts.push_back(&growing.text);
    last.push_back(growing.prefix.units.back());
  }
  std::vector<float> log_p = decoder.Step(memory, texts, last);
  const auto width = static_cast<size_t>(decoder.config().vocab);
  LogSoftmax(log_p, decoder.config().vocab);
  for (size_t i = 0; i < beam.size(); ++i) {
    const auto begin = log_p.begin() + static_cast<int64_t>(i * width);
    beam[i].log_p.assign(begin, begin + static_cast<int64_t>(width));
  }
}

}  // namespace

Prefix SearchAttention(const SpeechDecoder& decoder, const DecoderMemory& memory, int32_t first,
                       const SearchOptions& options) {
  std::vector<Growing> beam;
  beam.push_back({{}, decoder.Begin(), {}});
  beam[0].log_p = decoder.Run(memory, beam[0].text, {&first, 1});
  LogSoftmax(beam[0].log_p, decoder.config().vocab);
  std::vector<Prefix> finished;
  const auto best = [](const std::vector<Prefix>& list) {
    return std::ranges::max_element(list, {}, &Prefix::log_p);
  };
  for (int length = 0; length < options.max_units && !beam.empty(); ++length) {
    std::vector<Growing> next;
    for (const Choice& choice : BestChoices(beam, options)) {
      Prefix prefix = beam[choice.from].prefix;
      prefix.log_p = choice.log_p;
      if (choice.unit == kEndUnit) {
        finished.push_back(std::move(prefix));
      } else {
        prefix.units.push_back(choice.unit);
        next.push_back({std::move(prefix), beam[choice.from].text, {}});
      }
    }
    // Without a bonus no longer text can be more probable than one that is finished.
    if (!finished.empty() && options.length_bonus == 0) {
      std::erase_if(next,
                    [&](const Growing& g) { return g.prefix.log_p <= best(finished)->log_p; });
    }
    beam = std::move(next);
    if (!beam.empty()) Advance(decoder, memory, beam);
  }
  for (Growing& growing : beam) {
    if (finished.empty()) finished.push_back(std::move(growing.prefix));
  }
  return *best(finished);
}

double ScoreText(const SpeechDecoder& decoder, const DecoderMemory& memory, int32_t first,
                 std::span<const int32_t> units) {
  std::vector<int32_t> input = {first};
  input.insert(input.end(), units.begin(), units.end());
  DecoderText text = decoder.Begin();
  std::vector<float> log_p = decoder.Run(memory, text, input, /*all=*/true);
  const int64_t width = decoder.config().vocab;
  LogSoftmax(log_p, width);
  double sum = 0;
  for (size_t i = 0; i < input.size(); ++i) {
    const int32_t unit = i < units.size() ? units[i] : kEndUnit;
    sum += log_p[i * static_cast<size_t>(width) + static_cast<size_t>(unit)];
  }
  return sum;
}

}  // namespace rondo
