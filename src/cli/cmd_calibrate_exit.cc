#include <cstdio>

#include "base/file.h"
#include "cli/output.h"
#include "cli/session.h"
#include "report/line_plot.h"
#include "rondo/exit_curve.h"

namespace rondo::cli {
namespace {

std::string PointsJson(const ExitCurve& curve) {
  std::string points;
  for (const ExitPoint& point : curve.points) {
    Output entry;
    entry.Add("threshold", double{point.threshold});
    entry.Add("mean_loops", point.mean_loops);
    entry.Add("perplexity", point.perplexity);
    entry.Add("agreement", point.agreement);
    points += (points.empty() ? "" : ", ") + entry.Json();
  }
  return "[" + points + "]";
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
  AtomicFile file(path);
  file.Write(
      LinePlotSvg("Early exit by " + rule, {line},
                  {.x_axis = "mean loops a token", .y_axis = "perplexity", .logarithmic_y = true}));
  file.Commit();
}

}  // namespace

int RunCalibrateExit(const CalibrateExitOptions& options, const CommonOptions& common) {
  ThreadPool pool(common.threads);
  const EngineOptions engine_options = ToEngineOptions(options.text.type, options.text.kv);
  const Model model = LoadModel(options.model);
  const auto tokens = EncodeFile(*LoadTokenizer(model.path), options.text.text);
  const Engine engine(model, engine_options, pool);
  const ExitCurve curve = MeasureExits(engine, tokens,
                                       {.rule = ExitRuleFromName(options.rule),
                                        .min_loops = options.min_loops,
                                        .thresholds = options.thresholds},
                                       ToWindows(options.text, common));
  if (!options.svg.empty()) WritePicture(curve, options.rule, options.svg);
  if (!common.json) {
    PrintTable(curve);
    return 0;
  }
  Output out;
  out.Add("rule", options.rule);
  out.Add("loops", curve.loops);
  out.Add("tokens", curve.tokens);
  out.AddJson("points", PointsJson(curve));
  out.Print(true);
  return 0;
}

}  // namespace rondo::cli
