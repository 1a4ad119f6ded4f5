// How likely continuations are after their contexts, many examples at a time.
//
//   ContinuationScorer scorer(engine, pool, {2});
//   scorer.Score(examples)[i][0][j].log_likelihood    // example i, row j, after loop 2
//
// What the rows of an example have in common is computed once; then all rows continue from copies
// of its keys and values. Rows of all examples go through each layer together, and only positions
// that predict a continuation go through the head. A row's scores are, bit for bit, the same in any
// company.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "eval/task_rows.h"
#include "rondo/engine.h"

namespace rondo {

struct ContinuationScore {
  double log_likelihood = 0;  // nats, summed over the continuation's tokens
  bool greedy = true;         // each token is the most likely one
};

using ExampleScores = std::vector<std::vector<ContinuationScore>>;  // [scored loops][rows]

class ContinuationScorer {
 public:
  // Scores are taken after each of `loops` (ascending, from 1), as if the model ended there: layers
  // after the loops, final norm and head follow. Loops beyond the last of them are not computed.
  // Engine and pool must outlive it. Throws when the model has no such loop.
  ContinuationScorer(const Engine& engine, ThreadPool& pool, std::vector<int> loops);

  // Throws when the examples' keys and values do not fit in memory, or when a likelihood is not a
  // number.
  std::vector<ExampleScores> Score(std::span<const TokenRows> examples);

 private:
  struct Want;
  struct Job;
  struct Piece;
  static void AddWants(const TokenRow& row, size_t example, size_t number, size_t begin, size_t end,
                       std::vector<Want>& wants);
  // What all rows of an example begin with, and what each of them adds to it.
  Job SharedJob(size_t example, const TokenRows& rows) const;
  void AddOwnJobs(size_t example, const TokenRows& rows, const Job& shared,
                  std::vector<Job>& jobs) const;
  // Makes room for keys and values.
  void Reserve(std::span<const TokenRows> examples);
  void Run(std::span<Job> jobs, std::vector<ExampleScores>& scores) const;
  void RunPass(std::span<const Piece> pieces, std::vector<ExampleScores>& scores) const;
  void Look(std::span<const Piece> pieces, size_t exit, const float* hidden,
            std::vector<ExampleScores>& scores) const;
  // Which of an example's caches the layers after the loops use when leaving at this exit.
  size_t CacheOf(size_t exit) const { return exit + 1 == loops_.size() ? 0 : exit + 1; }
  size_t CacheCount() const;

  const Engine& engine_;
  ThreadPool& pool_;
  std::vector<int> loops_;
  std::optional<KvPool> pages_;
};

}  // namespace rondo
