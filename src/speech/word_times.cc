#include "speech/word_times.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/strings.h"

namespace rondo {
namespace {

constexpr int64_t kMedianWidth = 7;

// Median of 7 values around each, the ends mirrored.
void MedianFilter(std::span<float> row) {
  const int64_t size = std::ssize(row), half = kMedianWidth / 2;
  if (size <= half) return;
  const std::vector<float> from(row.begin(), row.end());
  for (int64_t i = 0; i < size; ++i) {
    std::array<float, kMedianWidth> near;
    for (int64_t k = -half; k <= half; ++k) {
      int64_t at = std::abs(i + k);
      if (at >= size) at = 2 * (size - 1) - at;
      near[static_cast<size_t>(k + half)] = from[static_cast<size_t>(at)];
    }
    std::nth_element(near.begin(), near.begin() + half, near.end());
    row[static_cast<size_t>(i)] = near[static_cast<size_t>(half)];
  }
}

}  // namespace

std::vector<int64_t> WarpRows(std::span<const float> cost, int64_t rows, int64_t columns) {
  constexpr float kFar = std::numeric_limits<float>::infinity();
  enum Step : uint8_t { kBoth, kDown, kRight };
  // Totals with a border of one; the step that led to each cell.
  const int64_t stride = columns + 1;
  std::vector<float> above(static_cast<size_t>(stride), kFar), here(above);
  std::vector<Step> steps(static_cast<size_t>((rows + 1) * stride), kRight);
  above[0] = 0;
  for (int64_t r = 1; r <= rows; ++r) {
    here[0] = kFar;
    for (int64_t c = 1; c <= columns; ++c) {
      const auto at = static_cast<size_t>(c);
      const float both = above[at - 1], down = above[at], right = here[at - 1];
      Step step = kRight;
      if (both < down && both < right) step = kBoth;
      if (down < both && down < right) step = kDown;
      const float best = step == kBoth ? both : step == kDown ? down : right;
      here[at] = cost[static_cast<size_t>((r - 1) * columns + c - 1)] + best;
      steps[static_cast<size_t>(r * stride + c)] = step;
    }
    std::swap(above, here);
    above[0] = kFar;
  }
  std::vector<int64_t> first(static_cast<size_t>(rows), 0);
  for (int64_t r = rows, c = columns; r > 0 && c > 0;) {
    first[static_cast<size_t>(r - 1)] = c - 1;
    const Step step = steps[static_cast<size_t>(r * stride + c)];
    if (step != kRight) --r;
    if (step != kDown) --c;
  }
  return first;
}

std::vector<float> SharpenAttention(std::span<const float> attention, int64_t heads, int64_t tokens,
                                    int64_t positions) {
  std::vector<float> mean(static_cast<size_t>(tokens * positions));
  std::vector<float> head(mean.size());
  for (int64_t h = 0; h < heads; ++h) {
    std::copy_n(attention.begin() + h * tokens * positions, tokens * positions, head.begin());
    for (int64_t p = 0; p < positions; ++p) {
      double sum = 0, squares = 0;
      for (int64_t t = 0; t < tokens; ++t) sum += head[static_cast<size_t>(t * positions + p)];
      const double average = sum / static_cast<double>(tokens);
      for (int64_t t = 0; t < tokens; ++t) {
        squares += std::pow(head[static_cast<size_t>(t * positions + p)] - average, 2);
      }
      const double deviation = std::sqrt(squares / static_cast<double>(tokens));
      for (int64_t t = 0; t < tokens; ++t) {
        float& value = head[static_cast<size_t>(t * positions + p)];
        value = deviation > 0 ? static_cast<float>((value - average) / deviation) : 0.0f;
      }
    }
    for (int64_t t = 0; t < tokens; ++t) {
      const auto row = std::span(head).subspan(static_cast<size_t>(t * positions),
                                               static_cast<size_t>(positions));
      MedianFilter(row);
      for (int64_t p = 0; p < positions; ++p) {
        mean[static_cast<size_t>(t * positions + p)] +=
            row[static_cast<size_t>(p)] / static_cast<float>(heads);
      }
    }
  }
  return mean;
}

std::vector<double> TokenTimes(const SpeechDecoder& decoder, const DecoderMemory& memory,
                               const AlignmentInput& input) {
  std::vector<int32_t> tokens(input.prompt.begin(), input.prompt.end());
  tokens.insert(tokens.end(), input.text.begin(), input.text.end());
  tokens.push_back(input.end_token);
  const int64_t rows = std::ssize(tokens), heads = std::ssize(input.heads);
  const std::vector<float> all = decoder.CrossAttention(memory, tokens, input.heads);
  // Only what was said counts, as a distribution again.
  std::vector<float> said(static_cast<size_t>(heads * rows * input.positions));
  for (int64_t r = 0; r < heads * rows; ++r) {
    const float* from = all.data() + r * memory.length;
    float* to = said.data() + r * input.positions;
    float sum = 0;
    for (int64_t p = 0; p < input.positions; ++p) sum += from[p];
    for (int64_t p = 0; p < input.positions; ++p) to[p] = sum > 0 ? from[p] / sum : 0;
  }
  std::vector<float> cost = SharpenAttention(said, heads, rows, input.positions);
  for (float& value : cost) value = -value;
  // A row predicts the token behind it: the last of the prompt the text's first, the end none.
  const int64_t lead = std::ssize(input.prompt) - 1, count = std::ssize(input.text) + 1;
  const auto part = std::span(cost).subspan(static_cast<size_t>(lead * input.positions),
                                            static_cast<size_t>(count * input.positions));
  std::vector<double> times;
  for (const int64_t first : WarpRows(part, count, input.positions)) {
    times.push_back(static_cast<double>(first) * input.seconds_per_position);
  }
  return times;
}

std::vector<Word> WordsOf(const Tokenizer& tokenizer, std::span<const int32_t> tokens,
                          std::span<const double> times) {
  std::vector<Word> words;
  StreamDecoder stream(tokenizer);
  size_t begin = 0;  // of the piece that has not come out yet
  for (size_t i = 0; i < tokens.size(); ++i) {
    const std::string piece = stream.Push(tokens[i]);
    if (piece.empty()) continue;
    if (words.empty() || piece.front() == ' ') {
      words.push_back({.text = {}, .begin = times[begin], .end = {}});
    }
    words.back().text += piece;
    words.back().end = times[i + 1];
    begin = i + 1;
  }
  const std::string rest = stream.Flush();
  if (!rest.empty() && !words.empty()) words.back().text += rest;
  for (Word& word : words) word.text = std::string(Trim(word.text));
  std::erase_if(words, [](const Word& word) { return word.text.empty(); });
  return words;
}

}  // namespace rondo
