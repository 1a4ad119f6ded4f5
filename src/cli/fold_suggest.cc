#include "cli/fold_suggest.h"

#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "base/file.h"
#include "base/machine.h"
#include "base/options.h"
#include "base/strings.h"
#include "base/warn.h"
#include "cli/output.h"
#include "cli/outputs.h"
#include "cli/session.h"
#include "report/heatmap.h"
#include "rondo/thread_pool.h"
#include "rondo/weights.h"
#include "tensor/dtype_names.h"

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

// Sizes are compared, and the next command writes, in this type.
constexpr DType kStore = DType::kBF16;

uint64_t BytesOf(const Model& model, const SharingPlan& plan) {
  return BytesToWrite(model.config, plan, kStore);
}

std::string PlanName(size_t index) { return "/plan-" + std::to_string(index + 1) + ".json"; }

// A path as a shell reads it.
std::string Quoted(const std::string& path) {
  return path.find_first_of(" '\"$&|;<>()*?") == path.npos ? path : "\"" + path + "\"";
}

// What makes a model of a suggested plan: beside the plans, which the next --suggest replaces.
std::string NextCommand(const FoldCommandOptions& options, size_t i) {
  const size_t end = options.out.find_last_not_of('/');
  const std::string name = options.out.substr(0, end == options.out.npos ? end : end + 1) +
                           "-plan-" + std::to_string(i + 1);
  return "rondo fold " + Quoted(options.model) + " --out " + Quoted(name) + " --plan " +
         Quoted(options.out + PlanName(i)) + " --calibrate " + Quoted(options.calibrate) +
         " --store " + ToText(kStore);
}

void WritePlans(const SuggestReport& report, const std::string& directory) {
  for (size_t i = 0; i < report.suggestions.size(); ++i) {
    WriteTextFile(directory + PlanName(i), PlanToJson(report.suggestions[i].plan) + "\n");
  }
}

// The suggestions as a JSON array.
std::string Curve(const Model& model, const SuggestReport& report,
                  const FoldCommandOptions& options) {
  std::vector<Output> curve;
  for (size_t i = 0; i < report.suggestions.size(); ++i) {
    const Suggestion& suggestion = report.suggestions[i];
    Output entry;
    entry.Add("plan", options.out + PlanName(i));
    entry.Add("parameters_non_embedding", suggestion.non_embedding_parameters);
    entry.Add("bytes_" + ToText(kStore), static_cast<int64_t>(BytesOf(model, suggestion.plan)));
    entry.Add("predicted_kl", suggestion.predicted_kl);
    entry.Add("perplexity", suggestion.perplexity);
    entry.Add("command", NextCommand(options, i));
    curve.push_back(std::move(entry));
  }
  return JsonArray(curve);
}

void PrintRow(const std::string& name, const std::string& parameters, uint64_t bytes,
              const std::string& kl, double perplexity) {
  std::printf("%-12s %16s %16s %14s %12.2f\n", name.c_str(), parameters.c_str(),
              WithThousands(static_cast<int64_t>(bytes)).c_str(), kl.c_str(), perplexity);
}

void PrintCurve(const Model& model, const SuggestReport& report,
                const FoldCommandOptions& options) {
  const int64_t all = CountParameters(model.config, model.plan).NonEmbedding();
  std::printf("%-12s %16s %16s %14s %12s\n", "plan", "parameters",
              ("bytes as " + ToText(kStore)).c_str(), "predicted KL*", "perplexity**");
  PrintRow("original", WithThousands(all), BytesOf(model, model.plan), "", report.perplexity);
  for (size_t i = 0; i < report.suggestions.size(); ++i) {
    const Suggestion& suggestion = report.suggestions[i];
    char kl[32];
    std::snprintf(kl, sizeof(kl), "%.3f", suggestion.predicted_kl);
    PrintRow("plan-" + std::to_string(i + 1), WithThousands(suggestion.non_embedding_parameters),
             BytesOf(model, suggestion.plan), kl, suggestion.perplexity);
  }
  std::printf(
      "\n*  nats a token, a first-order estimate that is too small, 1.3 to 7 times where it was "
      "measured:\n   it orders plans, and the perplexity says what they cost.\n"
      "** of the text's last %s tokens, which nothing was fitted to.\n\nTo make a model of a "
      "plan:\n",
      WithThousands(report.held_out_tokens).c_str());
  for (size_t i = 0; i < report.suggestions.size(); ++i) {
    std::printf("  %s\n", NextCommand(options, i).c_str());
  }
  std::printf("\n");
}

// A perplexity of few tokens says little.
void WarnOfShortHeldOut(const std::string& text, int64_t tokens) {
  constexpr int64_t kLeast = 1024;
  if (tokens >= kLeast) return;
  Warn(text + ": the plans are measured on its last " + WithThousands(tokens) + " tokens; below " +
       WithThousands(kLeast) + " perplexities say little: give more text");
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
  WarnOfShortHeldOut(options.calibrate, report.held_out_tokens);
  AtomicDirectory directory(options.out, rules);
  WriteHeatmaps(report, directory.path());
  WritePlans(report, directory.path());
  directory.Commit();
  if (!common.json) PrintCurve(model, report, options);
  Output out;
  out.Add("written", options.out);
  out.Add("parameters_non_embedding", CountParameters(model.config, model.plan).NonEmbedding());
  out.Add("bytes_" + ToText(kStore), static_cast<int64_t>(BytesOf(model, model.plan)));
  out.Add("perplexity", report.perplexity);
  out.Add("held_out_tokens", report.held_out_tokens);
  out.AddJson("suggestions", Curve(model, report, options));
  out.Add("peak_memory_bytes", PeakMemoryBytes());
  out.Print(common.json);
  return 0;
}

}  // namespace rondo::cli
