// Evaluation on tasks as the papers do it: LAMBADA, HellaSwag, PIQA, WinoGrande, ARC and
// OpenBookQA.
//
//   TaskReport report = EvaluateTasks(engine, *tokenizer, pool, {.tasks = {"piqa", "arc_easy"},
//                                                                .data = "data/eval"});
//   report.tasks[0].loops.back().acc.value
//
// Prompts, worked examples, scores and standard errors are those of lm-evaluation-harness 0.4
// (EleutherAI) for the same records and seed; docs/eval.md says what that means.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "rondo/engine.h"
#include "rondo/tokenizer.h"

namespace rondo {

struct TaskOptions {
  // lambada, hellaswag, piqa, winogrande, arc_easy, arc_challenge, openbookqa; with ":train",
  // ":validation" or ":test" for another split than the usual one.
  std::vector<std::string> tasks;
  std::string data;        // folder with the records (docs/eval.md)
  int shots = 0;           // worked examples before each question
  int64_t limit = 0;       // first so many records of each task; 0: all
  uint32_t seed = 1234;    // of the draw of worked examples
  std::vector<int> loops;  // score after these, ascending from 1; empty: after the last one
  // File that keeps the scores of finished examples, so that an interrupted evaluation goes on
  // where it was, and `run`, which says what they were computed with (FingerprintOf(model) and
  // types). Empty: none.
  std::string resume;
  std::string run;
  bool quiet = true;  // no progress bar
};

struct Statistic {
  double value = 0;
  std::optional<double> standard_error;  // none for a single example
};

struct TaskScores {
  int loop = 1;  // taken after this one, from 1
  // Share of records whose right choice is the likeliest; of LAMBADA, whose last word is the greedy
  // continuation.
  Statistic acc;
  // The same with likelihoods divided by the choice's length, in characters as the harness has it
  // and in bytes as papers do. Not of LAMBADA and WinoGrande.
  std::optional<Statistic> acc_norm, acc_bytes;
  std::optional<Statistic> perplexity;  // of LAMBADA's last words, a word each
};

struct TaskResult {
  std::string task;
  std::string split;
  std::string file;
  int64_t examples = 0;
  int64_t resumed = 0;            // of these, taken from the file of an earlier run
  std::vector<TaskScores> loops;  // one for each scored loop
};

struct TaskReport {
  std::vector<TaskResult> tasks;
  // The average that papers print, for every scored loop: of the tasks' acc_norm, or acc where
  // there is none.
  std::vector<double> mean;
  double seconds = 0;  // spent on scoring, and on
  int64_t scored = 0;  // so many examples
};

// Throws rondo::Error for unknown tasks, missing files and malformed records, naming file and line.
TaskReport EvaluateTasks(const Engine& engine, const Tokenizer& tokenizer, ThreadPool& pool,
                         const TaskOptions& options);

}  // namespace rondo
