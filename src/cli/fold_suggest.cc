#include "cli/fold_suggest.h"

#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "base/file.h"
#include "base/machine.h"
#include "base/strings.h"
#include "cli/output.h"
#include "cli/outputs.h"
#include "cli/session.h"
#include "report/heatmap.h"
#include "rondo/thread_pool.h"

namespace rondo::cli {
namespace {

std::vector<std::string> Numbers(int count) {
  std::vector<std::string> labels;
  for (int i = 0; i < count; ++i) labels.push_back(std::to_string(i));
  return labels;
}

void WriteHeatmaps(const SuggestReport& report, const std::string& directory) {
  const std::vector<std::string> depths = Numbers(report.depths);
  WriteTextFile(directory + "/similarity.svg",
                HeatmapSvg("Similarity of the layers' updates (linear CKA)", depths, depths,
                           report.similarity, {.row_axis = "depth", .column_axis = "depth"}));
  WriteTextFile(
      directory + "/tie_loss.svg",
      HeatmapSvg(
          "Loss when a depth runs with another's linears (KL, nats per token)", depths, depths,
          report.tie_loss,
          {.row_axis = "linears of depth", .column_axis = "used at depth", .logarithmic = true}));
}

std::string PlanName(size_t index) { return "/plan-" + std::to_string(index + 1) + ".json"; }

void WritePlans(const SuggestReport& report, const std::string& directory) {
  for (size_t i = 0; i < report.suggestions.size(); ++i) {
    WriteTextFile(directory + PlanName(i), PlanToJson(report.suggestions[i].plan) + "\n");
  }
}

// The suggestions as a JSON array.
std::string Curve(const SuggestReport& report, const std::string& directory) {
  std::vector<Output> curve;
  for (size_t i = 0; i < report.suggestions.size(); ++i) {
    const Suggestion& suggestion = report.suggestions[i];
    Output entry;
    entry.Add("plan", directory + PlanName(i));
    entry.Add("parameters_non_embedding", suggestion.non_embedding_parameters);
    entry.Add("predicted_kl", suggestion.predicted_kl);
    entry.Add("perplexity", suggestion.perplexity);
    curve.push_back(std::move(entry));
  }
  return JsonArray(curve);
}

void PrintCurve(const SuggestReport& report) {
  std::printf("%-12s %16s %14s %12s\n", "plan", "parameters", "predicted KL", "perplexity");
  std::printf("%-12s %16s %14s %12.2f\n", "original", "", "", report.perplexity);
  for (size_t i = 0; i < report.suggestions.size(); ++i) {
    const Suggestion& suggestion = report.suggestions[i];
    std::printf("%-12s %16s %14.3f %12.2f\n", ("plan-" + std::to_string(i + 1)).c_str(),
                WithThousands(suggestion.non_embedding_parameters).c_str(), suggestion.predicted_kl,
                suggestion.perplexity);
  }
}

}  // namespace

std::vector<int32_t> CalibrationTokens(const Model& model, const FoldCommandOptions& options) {
  auto tokens = EncodeFile(*LoadTokenizer(model.path), options.calibrate);
  constexpr int64_t kLeast = 8192;  // docs/calibration.md
  WarnOfFewTokens(options.calibrate, tokens.size(), options.fit.max_tokens, kLeast);
  return tokens;
}

CalibrateOptions ToCalibrateOptions(const FoldCommandOptions& options, const ModelConfig& config) {
  CalibrateOptions calibrate = options.fit;
  calibrate.context =
      Positions("--calibrate-context", options.calibrate_context, calibrate.context, config);
  return calibrate;
}

int RunSuggest(const Model& model, const FoldOptions& fold, const FoldCommandOptions& options,
               const CommonOptions& common, ThreadPool& pool) {
  const auto tokens = CalibrationTokens(model, options);
  SuggestOptions suggest;
  suggest.calibrate = ToCalibrateOptions(options, model.config);
  const OutputRules rules = {.inputs = {options.model, options.calibrate}, .force = options.force};
  PrepareDirectory(options.out, rules, 0);
  const SuggestReport report = Suggest(model, fold, tokens, suggest, pool, common.quiet);
  AtomicDirectory directory(options.out, rules);
  WriteHeatmaps(report, directory.path());
  WritePlans(report, directory.path());
  directory.Commit();
  if (!common.json) PrintCurve(report);
  Output out;
  out.Add("written", options.out);
  out.Add("perplexity", report.perplexity);
  out.AddJson("suggestions", Curve(report, options.out));
  out.Add("peak_memory_bytes", PeakMemoryBytes());
  out.Print(common.json);
  return 0;
}

}  // namespace rondo::cli
