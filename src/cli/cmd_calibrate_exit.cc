#include <cstdio>
#include <utility>
#include <vector>

#include "base/file.h"
#include "cli/output.h"
#include "cli/outputs.h"
#include "cli/session.h"
#include "eval/exit_curve.h"
#include "report/line_plot.h"
#include "rondo/exit_gate.h"
#include "rondo/export.h"

namespace rondo::cli {
namespace {

std::string PointsJson(const ExitCurve& curve) {
  std::vector<Output> points;
  for (const ExitPoint& point : curve.points) {
    Output entry;
    entry.Add("threshold", double{point.threshold});
    entry.Add("mean_loops", point.mean_loops);
    entry.Add("perplexity", point.perplexity);
    entry.Add("agreement", point.agreement);
    points.push_back(std::move(entry));
  }
  return JsonArray(points);
}

// If all tokens left after a loop, for each.
std::string LoopsJson(const ExitCurve& curve) {
  std::vector<Output> loops;
  for (int loop = 0; loop < curve.loops; ++loop) {
    const auto at = static_cast<size_t>(loop);
    Output entry;
    entry.Add("loop", loop + 1);
    entry.Add("perplexity", curve.loop_perplexity[at]);
    entry.Add("agreement", curve.loop_agreement[at]);
    loops.push_back(std::move(entry));
  }
  return JsonArray(loops);
}

void PrintTable(const ExitCurve& curve) {
  std::printf("%10s %11s %12s %10s   left after loop\n", "threshold", "mean loops", "perplexity",
              "agreement");
  for (const ExitPoint& point : curve.points) {
    std::printf("%10.4g %11.3f %12.3f %9.1f%%  ", double{point.threshold}, point.mean_loops,
                point.perplexity, 100 * point.agreement);
    for (const double share : point.exit_share) std::printf(" %5.1f%%", 100 * share);
    std::printf("\n");
  }
  for (int loop = 0; loop < curve.loops; ++loop) {
    const auto at = static_cast<size_t>(loop);
    std::printf("all tokens after loop %d: perplexity %.3f, agreement %.1f%%\n", loop + 1,
                curve.loop_perplexity[at], 100 * curve.loop_agreement[at]);
  }
}

void WritePicture(const ExitCurve& curve, const std::string& rule, const std::string& path) {
  PlotLine line{.name = rule, .points = {}};
  for (const ExitPoint& point : curve.points) {
    line.points.push_back(
        {point.mean_loops, point.perplexity, "threshold " + std::to_string(point.threshold)});
  }
  WriteTextFile(
      path,
      LinePlotSvg("Early exit by " + rule, {line},
                  {.x_axis = "mean loops a token", .y_axis = "perplexity", .logarithmic_y = true}));
}

// Learns from the first four fifths of the text and leaves the last fifth in `tokens`.
ExitGateFit FitGate(const Model& model, const CalibrateExitOptions& options, int context,
                    std::vector<int32_t>* tokens, const CommonOptions& common, ThreadPool& pool) {
  if (options.text.max_tokens > 0 && std::cmp_less(options.text.max_tokens, tokens->size())) {
    tokens->resize(static_cast<size_t>(options.text.max_tokens));
  }
  const size_t split = tokens->size() - tokens->size() / 5;
  const Engine engine(model, options.engine, pool);
  ExitGateFit fit = FitExitGate(model, engine, std::span(*tokens).first(split),
                                {.context = context, .max_tokens = 0, .quiet = common.quiet}, pool);
  tokens->erase(tokens->begin(), tokens->begin() + static_cast<std::ptrdiff_t>(split));
  return fit;
}

// Every tensor in the type that it has.
void WriteGated(const Model& model, const std::string& path, const CommonOptions& common,
                ThreadPool& pool, const SaveOptions& save) {
  if (!path.ends_with(".gguf")) {
    const DType type = model.weights.Get("embed.weight").dtype();
    return SaveModel(model, path, IsQuantized(type) ? DType::kF32 : type, save);
  }
  TensorTypes types;
  for (const auto& [name, tensor] : model.weights) types[name] = tensor.dtype();
  SaveNativeGguf(model, path, types, pool, common.quiet, save);
}

// Before the tokens are run.
void CheckTargets(const CalibrateExitOptions& options, const Model& model) {
  const OutputRules rules = {.inputs = {options.model, options.text.text}, .force = options.force};
  if (!options.svg.empty()) PrepareFile(options.svg, rules, 0);
  if (options.fit_gate.empty()) return;
  if (options.fit_gate.ends_with(".gguf")) {
    PrepareGguf(options.fit_gate, rules, model.weights.bytes());
  } else {
    PrepareDirectory(options.fit_gate, rules, BytesToWrite(model.config, model.plan, DType::kF32));
  }
}

}  // namespace

int RunCalibrateExit(const CalibrateExitOptions& options, const CommonOptions& common) {
  ThreadPool pool(common.threads);
  const Model model = LoadAdapted(options.model, common, pool);
  CheckTargets(options, model);
  std::vector<int32_t> tokens = EncodeFile(*LoadTokenizer(model.path), options.text.text);
  const WindowOptions windows = ToWindows(options.text, model.config, common);
  ExitCurveOptions exit = options.exit;
  if (!options.fit_gate.empty()) exit.rule = ExitRule::kGate;
  const auto measure = [&](const Model& of) {
    const Engine engine(of, options.engine, pool);
    return MeasureExits(engine, tokens, exit, windows);
  };
  Output out;
  const std::string rule(Name(exit.rule));
  ExitCurve curve;
  if (options.fit_gate.empty()) {
    curve = measure(model);
  } else {
    const ExitGateFit fit = FitGate(model, options, windows.context, &tokens, common, pool);
    WriteGated(fit.model, options.fit_gate, common, pool, {.force = options.force});
    curve = measure(fit.model);
    out.Add("written", options.fit_gate);
    out.Add("gate_tokens", fit.tokens);
    out.AddJson("gate_agreement", JsonArray(fit.agreement));
    out.AddJson("gate_ridge", JsonArray(fit.ridge));
  }
  if (!options.svg.empty()) WritePicture(curve, rule, options.svg);
  if (!common.json) PrintTable(curve);
  out.Add("rule", rule);
  out.Add("loops", curve.loops);
  out.Add("tokens", curve.tokens);
  out.AddJson("after_loop", LoopsJson(curve));
  out.AddJson("points", PointsJson(curve));
  out.Print(common.json);
  return 0;
}

}  // namespace rondo::cli
