#include <cstdio>
#include <string>

#include "base/file.h"
#include "base/strings.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/outputs.h"
#include "report/run_data.h"
#include "report/run_report.h"
#include "report/run_table.h"
#include "report/tensorboard.h"

namespace rondo::cli {
namespace {

std::string RunJson(const RunData& run) {
  const RunSummary summary = Summarise(run);
  Output out, events;
  out.Add("run", run.path);
  out.Add("steps", summary.steps);
  out.Add("tokens", summary.tokens);
  out.Add("seconds", summary.seconds);
  const auto add = [&out](const char* name, const auto& value) {
    if (value) out.Add(name, *value);
  };
  add("loss", summary.loss);
  add("valid_perplexity", summary.valid_perplexity);
  add("best_valid_perplexity", summary.best_valid_perplexity);
  add("tokens_per_s", summary.tokens_per_s);
  add("peak_resident_bytes", summary.peak_resident_bytes);
  for (const auto& [event, count] : summary.events) events.Add(event, count);
  out.AddJson("events", events.Json());
  Output recipe;
  for (const auto& [key, value] : run.recipe) recipe.Add(key, value);
  out.AddJson("recipe", recipe.Json());
  Output provenance;
  for (const auto& [name, value] : run.provenance) provenance.Add(name, value);
  out.AddJson("provenance", provenance.Json());
  return out.Json();
}

void PrintJson(const std::vector<RunData>& runs) {
  std::vector<std::string> objects;
  for (const RunData& run : runs) objects.push_back(RunJson(run));
  Output differences;
  for (const auto& [key, values] : RecipeDifferences(runs)) {
    Output by_run;
    for (size_t i = 0; i < runs.size(); ++i) by_run.Add(runs[i].path, values[i]);
    differences.AddJson(key, by_run.Json());
  }
  Output out;
  out.AddJson("runs", "[" + Join(objects, ", ") + "]");
  out.AddJson("recipe_differences", differences.Json());
  out.AddJson("validation_differences", JsonArray(ValidationDifferences(runs)));
  out.Print(true);
}

void PrintTable(const std::vector<RunData>& runs) {
  const std::vector<std::string> differing = ValidationDifferences(runs);
  const char* perplexity = differing.empty() ? "%.4g" : "%.4g*";
  std::printf("%-24s %9s %12s %8s %9s %11s %11s %9s\n", "run", "steps", "tokens", "minutes", "loss",
              "valid ppl", "lowest", "tokens/s");
  for (const RunData& run : runs) {
    const RunSummary s = Summarise(run);
    const auto cell = [](int width, const char* format, const std::optional<double>& value) {
      char text[40] = "-";
      if (value) std::snprintf(text, sizeof(text), format, *value);
      std::printf(" %*s", width, text);
    };
    std::printf("%-24s %9s %12s %8.1f", run.name.c_str(), WithThousands(s.steps).c_str(),
                WithThousands(s.tokens).c_str(), s.seconds / 60);
    cell(9, "%.4f", s.loss);
    cell(11, perplexity, s.valid_perplexity);
    cell(11, perplexity, s.best_valid_perplexity);
    cell(9, "%.0f", s.tokens_per_s);
    std::printf("\n");
  }
  if (!differing.empty()) {
    std::printf("* these perplexities cannot be compared: the runs differ in %s\n",
                Join(differing, ", ").c_str());
  }
  for (const auto& rows : {RecipeDifferences(runs), Provenances(runs)}) {
    for (const auto& [key, values] : rows) {
      std::printf("%s: %s\n", key.c_str(), Join(values, " | ").c_str());
    }
  }
}

}  // namespace

int RunReport(const ReportCommandOptions& options, const CommonOptions& common) {
  const std::vector<RunData> runs = LoadRuns(options.runs);
  const auto write = [&](const std::string& path,
                         std::string (*make)(const std::vector<RunData>&)) {
    if (path.empty()) return;
    PrepareFile(path, {.inputs = options.runs}, 0);
    WriteTextFile(path, make(runs));
  };
  write(options.out, RunReportHtml);
  write(options.csv, RunsCsv);
  if (!options.tensorboard.empty()) WriteTensorBoard(runs, options.tensorboard);
  if (common.json) {
    PrintJson(runs);
  } else {
    PrintTable(runs);
  }
  return 0;
}

}  // namespace rondo::cli
