// From the scores of examples to accuracies, perplexities and their standard errors, by the
// formulas of lm-evaluation-harness 0.4 (api/metrics.py).
#pragma once

#include <span>
#include <vector>

#include "eval/continuation_scorer.h"
#include "eval/task_spec.h"
#include "eval/tasks.h"

namespace rondo {

// Mean and the sample's standard deviation over sqrt(count).
Statistic MeanOf(std::span<const double> values);

// exp(-mean), and the standard deviation of the same over 100,000 resamples: draws of Python's
// random.choices, seeded 0 to 99 for a thousand each.
Statistic PerplexityOf(std::span<const double> log_likelihoods, ThreadPool& pool);

// Scores after one loop. `examples` are those of `records`, in order.
TaskScores ScoreTask(const TaskSpec& task, std::span<const TaskRecord> records,
                     std::span<const ExampleScores> examples, size_t loop, ThreadPool& pool);

}  // namespace rondo
