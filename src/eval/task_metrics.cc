#include "eval/task_metrics.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

#include "eval/python_random.h"
#include "rondo/thread_pool.h"
#include "text/unicode/utf8.h"

namespace rondo {
namespace {

double Mean(std::span<const double> values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

double SampleDeviation(std::span<const double> values) {
  const double mean = Mean(values);
  double squares = 0;
  for (const double value : values) squares += (value - mean) * (value - mean);
  return std::sqrt(squares / static_cast<double>(values.size() - 1));
}

double Characters(const std::string& text) {
  double count = 0;
  for (size_t i = 0; i < text.size(); ++count) i += static_cast<size_t>(NextUtf8(text, i).length);
  return count;
}

double Bytes(const std::string& text) { return static_cast<double>(text.size()); }

double One(const std::string&) { return 1; }

// 1 where the right choice has the largest likelihood for its length, the first of equals winning.
double Right(const TaskRecord& record, std::span<const ContinuationScore> scores,
             double (*length)(const std::string&)) {
  size_t best = 0;
  double most = 0;
  for (size_t i = 0; i < scores.size(); ++i) {
    const double value = scores[i].log_likelihood / length(record.choices[i]);
    if (i == 0 || value > most) {
      best = i;
      most = value;
    }
  }
  return best == static_cast<size_t>(record.answer) ? 1 : 0;
}

}  // namespace

Statistic MeanOf(std::span<const double> values) {
  Statistic out{.value = Mean(values), .standard_error = {}};
  if (values.size() > 1) {
    out.standard_error = SampleDeviation(values) / std::sqrt(static_cast<double>(values.size()));
  }
  return out;
}

Statistic PerplexityOf(std::span<const double> log_likelihoods, ThreadPool& pool) {
  Statistic out{.value = std::exp(-Mean(log_likelihoods)), .standard_error = {}};
  const size_t count = log_likelihoods.size();
  if (count < 2) return out;
  constexpr size_t kSeeds = 100, kDraws = 1000;
  std::vector<double> resampled(kSeeds * kDraws);
  pool.ParallelFor(kSeeds, [&](int64_t seed) {
    PythonRandom random(static_cast<uint32_t>(seed));
    for (size_t draw = 0; draw < kDraws; ++draw) {
      double sum = 0;
      for (size_t i = 0; i < count; ++i) sum += log_likelihoods[random.Choice(count)];
      resampled[static_cast<size_t>(seed) * kDraws + draw] =
          std::exp(-sum / static_cast<double>(count));
    }
  });
  out.standard_error = SampleDeviation(resampled);
  return out;
}

TaskScores ScoreTask(const TaskSpec& task, std::span<const TaskRecord> records,
                     std::span<const ExampleScores> examples, size_t loop, ThreadPool& pool) {
  const auto each = [&](const std::function<double(size_t)>& value) {
    std::vector<double> values;
    for (size_t i = 0; i < examples.size(); ++i) values.push_back(value(i));
    return values;
  };
  const auto right = [&](double (*length)(const std::string&)) {
    return MeanOf(each([&](size_t i) { return Right(records[i], examples[i][loop], length); }));
  };
  TaskScores scores;
  if (task.ranks_choices) {
    scores.acc = right(One);
    if (task.normalises) {
      scores.acc_norm = right(Characters);
      scores.acc_bytes = right(Bytes);
    }
    return scores;
  }
  scores.acc = MeanOf(each([&](size_t i) { return examples[i][loop].front().greedy ? 1.0 : 0.0; }));
  scores.perplexity =
      PerplexityOf(each([&](size_t i) { return examples[i][loop].front().log_likelihood; }), pool);
  return scores;
}

}  // namespace rondo
