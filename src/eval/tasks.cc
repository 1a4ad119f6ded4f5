#include "eval/tasks.h"

#include <algorithm>
#include <memory>
#include <set>
#include <utility>

#include "base/progress.h"
#include "base/stopwatch.h"
#include "base/with_file.h"
#include "eval/continuation_scorer.h"
#include "eval/fingerprint.h"
#include "eval/task_files.h"
#include "eval/task_metrics.h"
#include "eval/task_shots.h"
#include "eval/task_state.h"
#include "rondo/error.h"

namespace rondo {
namespace {

// Rows scored together. Several passes through the layers, so that few of them are partly filled.
constexpr size_t kBatchRows = 2048;

std::string FingerprintOf(const TokenRows& rows) {
  Fingerprint all;
  for (const TokenRow& row : rows) {
    const int32_t sizes[] = {static_cast<int32_t>(row.input.size()),
                             static_cast<int32_t>(row.targets.size())};
    all.Add(sizes);
    all.Add(row.input);
    all.Add(row.targets);
  }
  return all.Hex();
}

// Scores the examples of one task in order, a batch at a time.
class TaskRun {
 public:
  TaskRun(const TaskChoice& task, std::string file, ContinuationScorer& scorer, TaskState* state,
          TaskReport& report)
      : task_(task), file_(std::move(file)), scorer_(scorer), state_(state), report_(report) {}

  // Scores of all records, in order.
  std::vector<ExampleScores> Score(std::span<const TaskRecord> records, ShotSampler& shots,
                                   PairEncoder& encoder, bool quiet) {
    Progress progress(std::string(task_.spec->name), static_cast<int64_t>(records.size()), quiet);
    scores_.resize(records.size());
    for (size_t i = 0; i < records.size(); ++i) {
      std::vector<ContinuationText> requests = records[i].requests;
      const std::string before = shots.Draw(records[i]);
      for (ContinuationText& request : requests) request.context.insert(0, before);
      const std::string field = "example " + std::to_string(i);
      Add(i,
          WithFile(
              file_, [&] { return encoder.Encode(requests); }, field),
          progress);
    }
    Flush(progress);
    return std::move(scores_);
  }

  int64_t resumed() const { return resumed_; }

 private:
  void Add(size_t example, TokenRows rows, Progress& progress) {
    const std::string fingerprint = state_ != nullptr ? FingerprintOf(rows) : "";
    if (const ExampleScores* kept = state_ != nullptr ? state_->Find(fingerprint) : nullptr) {
      scores_[example] = *kept;
      ++resumed_;
      progress.Add();
      return;
    }
    for (const TokenRow& row : rows) batch_rows_ += row.input.size();
    batch_.push_back(std::move(rows));
    numbers_.push_back(example);
    fingerprints_.push_back(fingerprint);
    if (batch_rows_ >= kBatchRows) Flush(progress);
  }

  void Flush(Progress& progress) {
    const Stopwatch watch;
    std::vector<ExampleScores> scored = WithFile(file_, [&] { return scorer_.Score(batch_); });
    report_.seconds += watch.Seconds();
    report_.scored += static_cast<int64_t>(scored.size());
    for (size_t i = 0; i < scored.size(); ++i) {
      if (state_ != nullptr) {
        state_->Add(std::string(task_.spec->name), numbers_[i], fingerprints_[i], scored[i]);
      }
      scores_[numbers_[i]] = std::move(scored[i]);
    }
    progress.Add(static_cast<int64_t>(scored.size()));
    if (state_ != nullptr) state_->Flush();
    batch_.clear();
    numbers_.clear();
    fingerprints_.clear();
    batch_rows_ = 0;
  }

  const TaskChoice& task_;
  std::string file_;
  ContinuationScorer& scorer_;
  TaskState* state_;
  TaskReport& report_;
  std::vector<ExampleScores> scores_;
  int64_t resumed_ = 0;
  std::vector<TokenRows> batch_;
  std::vector<size_t> numbers_;  // of the batch's examples
  std::vector<std::string> fingerprints_;
  size_t batch_rows_ = 0;
};

// What a task needs, read before anything is computed, so that a missing file is known at once.
struct TaskInput {
  TaskChoice task;
  std::string file;
  std::vector<TaskRecord> records;
  std::vector<TaskRecord> pool;  // of worked examples; empty without shots
};

TaskInput ReadInput(const std::string& name, const TaskOptions& options) {
  TaskInput input{.task = ParseTask(name), .file = {}, .records = {}, .pool = {}};
  const TaskSpec& spec = *input.task.spec;
  input.file = FindTaskFile(options.data, spec, input.task.split);
  input.records = ReadTaskFile(input.file, spec);
  if (options.shots > 0) {
    input.pool = input.task.split == spec.shots
                     ? input.records
                     : ReadTaskFile(FindTaskFile(options.data, spec, spec.shots), spec);
  }
  if (options.limit > 0 && static_cast<size_t>(options.limit) < input.records.size()) {
    input.records.resize(static_cast<size_t>(options.limit));
  }
  return input;
}

void Check(const TaskOptions& options) {
  const auto require = [](bool ok, const char* field, std::string problem, std::string expected) {
    if (ok) return;
    throw Error({.function = "EvaluateTasks",
                 .problem = std::move(problem),
                 .expected = std::move(expected),
                 .file = {},
                 .field = field});
  };
  require(!options.tasks.empty(), "tasks", "none", "at least one");
  std::set<std::string_view> seen;
  for (const std::string& name : options.tasks) {
    require(seen.insert(ParseTask(name).spec->name).second, "tasks", "'" + name + "' again",
            "each task once");
  }
  require(options.shots >= 0, "shots", std::to_string(options.shots), "0 or more");
  require(options.limit >= 0, "limit", std::to_string(options.limit), "0 (all) or more");
}

double PaperScore(const TaskScores& scores) { return scores.acc_norm.value_or(scores.acc).value; }

}  // namespace

TaskReport EvaluateTasks(const Engine& engine, const Tokenizer& tokenizer, ThreadPool& pool,
                         const TaskOptions& options) {
  Check(options);
  std::vector<TaskInput> inputs;
  for (const std::string& name : options.tasks) inputs.push_back(ReadInput(name, options));
  const std::vector<int> loops =
      options.loops.empty() ? std::vector<int>{engine.loops().loops} : options.loops;
  ContinuationScorer scorer(engine, pool, loops);
  std::unique_ptr<TaskState> state;
  if (!options.resume.empty()) {
    state = std::make_unique<TaskState>(options.resume, options.run, loops);
  }
  PairEncoder encoder(tokenizer, engine.config().max_positions);

  TaskReport report;
  report.mean.resize(loops.size());
  for (const TaskInput& input : inputs) {
    const TaskSpec& spec = *input.task.spec;
    ShotSampler shots(input.pool, options.shots, options.seed, input.task.draws_one_more);
    TaskRun run(input.task, input.file, scorer, state.get(), report);
    const auto scores = run.Score(input.records, shots, encoder, options.quiet);
    TaskResult result{.task = std::string(spec.name),
                      .split = std::string(Name(input.task.split)),
                      .file = input.file,
                      .examples = static_cast<int64_t>(input.records.size()),
                      .resumed = run.resumed(),
                      .loops = {}};
    for (size_t i = 0; i < loops.size(); ++i) {
      TaskScores at = ScoreTask(spec, input.records, scores, i, pool);
      at.loop = loops[i];
      report.mean[i] += PaperScore(at) / static_cast<double>(inputs.size());
      result.loops.push_back(std::move(at));
    }
    report.tasks.push_back(std::move(result));
  }
  return report;
}

}  // namespace rondo
