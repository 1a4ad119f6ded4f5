#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <numeric>

#include "base/machine.h"
#include "base/options.h"
#include "cli/output.h"
#include "cli/session.h"
#include "eval/fingerprint.h"
#include "eval/tasks.h"
#include "kernels/kv_names.h"
#include "rondo/error.h"
#include "tensor/dtype_names.h"

namespace rondo::cli {
namespace {

// "last" is empty: the library's default.
std::vector<int> ParseLoops(const std::string& text, int loops) {
  if (text == "last") return {};
  if (text == "all") {
    std::vector<int> all(static_cast<size_t>(loops));
    std::iota(all.begin(), all.end(), 1);
    return all;
  }
  char* end = nullptr;
  const int64_t number = std::strtoll(text.c_str(), &end, 10);
  if (!text.empty() && *end == '\0' && number >= 1 && number <= loops) {
    return {static_cast<int>(number)};
  }
  throw UsageError(
      {.function = "ParseLoops",
       .problem = "value '" + text + "'",
       .expected = "last, all, or 1 to " + std::to_string(loops) + ", the model's loops",
       .file = {},
       .field = "--loops"});
}

void Add(Output& out, const std::string& name, const std::optional<Statistic>& statistic) {
  if (!statistic) return;
  out.Add(name, statistic->value);
  if (statistic->standard_error) {
    out.Add(name + "_stderr", *statistic->standard_error);
  } else {
    out.AddJson(name + "_stderr", "null");
  }
}

void AddScores(Output& out, const TaskScores& scores) {
  Add(out, "acc", scores.acc);
  Add(out, "acc_norm", scores.acc_norm);
  Add(out, "acc_bytes", scores.acc_bytes);
  Add(out, "perplexity", scores.perplexity);
}

std::string JsonOf(const TaskResult& result) {
  Output out;
  AddScores(out, result.loops.back());
  out.Add("examples", result.examples);
  out.Add("resumed", result.resumed);
  out.Add("split", result.split);
  out.Add("file", result.file);
  if (result.loops.size() == 1) return out.Json();
  std::string loops;
  for (const TaskScores& scores : result.loops) {
    Output loop;
    loop.Add("loop", scores.loop);
    AddScores(loop, scores);
    loops += (loops.empty() ? "" : ", ") + loop.Json();
  }
  out.AddJson("loops", "[" + loops + "]");
  return out.Json();
}

void PrintStatistic(const std::optional<Statistic>& statistic, int digits) {
  if (!statistic) {
    std::printf("%21s", "");
  } else if (statistic->standard_error) {
    std::printf("  %9.*f ± %-7.*f", digits, statistic->value, digits, *statistic->standard_error);
  } else {
    std::printf("  %9.*f%10s", digits, statistic->value, "");
  }
}

void PrintTable(const TaskReport& report) {
  const bool several = report.mean.size() > 1;
  std::printf("%-16s %8s%s%11s%21s%23s\n", "task", "examples", several ? "  loop" : "", "acc",
              "acc_norm", "perplexity");
  for (const TaskResult& result : report.tasks) {
    for (const TaskScores& scores : result.loops) {
      std::printf("%-16s %8lld", result.task.c_str(), static_cast<long long>(result.examples));
      if (several) std::printf("  %4d", scores.loop);
      PrintStatistic(scores.acc, 4);
      PrintStatistic(scores.acc_norm, 4);
      PrintStatistic(scores.perplexity, 2);
      std::printf("\n");
    }
  }
  for (size_t i = 0; i < report.mean.size(); ++i) {
    std::printf("%-25s", i == 0 ? "mean of acc_norm, or acc" : "");
    if (several) std::printf("  %4d", report.tasks.front().loops[i].loop);
    std::printf("  %9.4f\n", report.mean[i]);
  }
}

}  // namespace

int RunEvalTasks(const EvalOptions& options, const CommonOptions& common) {
  ThreadPool pool(common.threads);
  const Model model = LoadAdapted(options.model, common, pool);
  const auto tokenizer = LoadTokenizer(model.path);
  const Engine engine(model, options.engine, pool);
  const TaskFlags& flags = options.tasks;
  const TaskReport report =
      EvaluateTasks(engine, *tokenizer, pool,
                    {.tasks = flags.tasks,
                     .data = flags.data,
                     .shots = flags.shots,
                     .limit = flags.limit,
                     .seed = flags.seed,
                     .loops = ParseLoops(flags.loops, engine.loops().loops),
                     .resume = flags.resume,
                     .run = FingerprintOf(model) + " --type " + ToText(options.engine.weights) +
                            " --kv " + ToText(options.engine.kv),
                     .quiet = common.quiet});
  const double rate = report.seconds > 0 ? static_cast<double>(report.scored) / report.seconds : 0;
  if (!common.json) {
    PrintTable(report);
    std::printf("%lld examples scored, %.1f a second\n", static_cast<long long>(report.scored),
                rate);
    return 0;
  }
  Output tasks;
  for (const TaskResult& result : report.tasks) tasks.AddJson(result.task, JsonOf(result));
  Output out;
  out.AddJson("tasks", tasks.Json());
  out.Add("mean", report.mean.back());
  if (report.mean.size() > 1) out.AddJson("mean_by_loop", nlohmann::json(report.mean).dump());
  out.Add("shots", flags.shots);
  out.Add("scored", report.scored);
  out.Add("examples_per_s", rate);
  out.Add("peak_memory_bytes", PeakMemoryBytes());
  out.Print(true);
  return 0;
}

}  // namespace rondo::cli
