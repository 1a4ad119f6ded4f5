#include "eval/exit_curve.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <utility>

#include "base/progress.h"
#include "engine/exit_check.h"
#include "engine/text_run.h"
#include "eval/logits.h"
#include "eval/windows.h"
#include "kernels/log_softmax.h"
#include "rondo/error.h"

namespace rondo {
namespace {

// One token after one loop.
struct Look {
  double nll = 0;
  double certainty = 0;  // grows with the wish to leave
  bool agrees = false;   // with the last loop
};

// Larger means more certain, whatever the rule's own direction.
double CertaintyAt(ExitRule rule, double score) { return LeavesAbove(rule) ? score : -score; }

// The strictest threshold that lets a token of this certainty leave.
float ThresholdOf(ExitRule rule, double certainty) {
  const auto threshold = static_cast<float>(CertaintyAt(rule, certainty));
  if (CertaintyAt(rule, threshold) <= certainty) return threshold;
  return std::nextafter(threshold,
                        LeavesAbove(rule) ? -1.0f : std::numeric_limits<float>::infinity());
}

// Looks at all scored tokens of a text, loop by loop.
class Observer {
 public:
  Observer(const Engine& engine, ExitRule rule, int context)
      : rule_(rule),
        shape_(engine.loops()),
        run_(engine, context),
        looks_(static_cast<size_t>(shape_.loops)) {}

  void Window(std::span<const int32_t> ids, int64_t scored) {
    run_.Start(ids);
    for (int depth = 0; depth < shape_.prologue; ++depth) run_.RunDepth(depth);
    for (int loop = 0; loop < shape_.loops; ++loop) {
      const std::vector<float> before = run_.hidden();
      for (int stage = 0; stage < shape_.stages; ++stage) run_.RunDepth(shape_.Depth(loop, stage));
      std::vector<float> leaving = run_.hidden();
      for (int i = 0; i < shape_.epilogue; ++i) run_.RunDepth(shape_.EpilogueDepth(i), leaving);
      LookAt(loop, ids, scored, before, leaving);
    }
    Compare();
  }

  const std::vector<std::vector<Look>>& looks() const { return looks_; }

 private:
  void LookAt(int loop, std::span<const int32_t> ids, int64_t scored,
              const std::vector<float>& before, const std::vector<float>& leaving) {
    const Engine& engine = run_.engine();
    const auto vocab = static_cast<size_t>(engine.config().vocab);
    const size_t first = std::max<size_t>(ids.size() - static_cast<size_t>(scored), 1);
    // Behind the last loop there is no choice, and no gate.
    const bool may_leave = loop + 1 < shape_.loops;
    std::vector<float> logits(kLogitRows * vocab);
    for (size_t row = first - 1; row + 1 < ids.size(); row += kLogitRows) {
      const size_t count = std::min<size_t>(kLogitRows, ids.size() - 1 - row);
      run_.Head(leaving, row, count, logits.data());
      for (size_t r = row; r < row + count; ++r) {
        const auto of_row = std::span<const float>(logits).subspan((r - row) * vocab, vocab);
        const ExitLook look{engine, loop + 1, of_row, run_.RowOf(before, r), run_.row(r)};
        looks_[static_cast<size_t>(loop)].push_back(
            {.nll = LogSumExp(of_row) - of_row[static_cast<size_t>(ids[r + 1])],
             .certainty = may_leave ? CertaintyAt(rule_, ExitScore(rule_, look)) : 0});
        best_.push_back(std::ranges::max_element(of_row) - of_row.begin());
      }
    }
  }

  // Most likely tokens of this window, one loop after the other, against the last loop's.
  void Compare() {
    const size_t count = best_.size() / looks_.size();
    for (size_t loop = 0; loop < looks_.size(); ++loop) {
      std::vector<Look>& looks = looks_[loop];
      for (size_t i = 0; i < count; ++i) {
        looks[looks.size() - count + i].agrees =
            best_[loop * count + i] == best_[(looks_.size() - 1) * count + i];
      }
    }
    best_.clear();
  }

  ExitRule rule_;
  LoopShape shape_;
  TextRun run_;
  std::vector<std::vector<Look>> looks_;  // [loops][tokens]
  std::vector<std::ptrdiff_t> best_;
};

ExitPoint PointAt(const std::vector<std::vector<Look>>& looks, double certainty, int min_loops) {
  ExitPoint point;
  point.exit_share.resize(looks.size());
  double nll = 0, loops = 0, agree = 0;
  const size_t tokens = looks[0].size();
  for (size_t i = 0; i < tokens; ++i) {
    size_t loop = static_cast<size_t>(min_loops) - 1;
    while (loop + 1 < looks.size() && looks[loop][i].certainty < certainty) ++loop;
    nll += looks[loop][i].nll;
    loops += static_cast<double>(loop + 1);
    agree += looks[loop][i].agrees ? 1 : 0;
    point.exit_share[loop] += 1;
  }
  const auto count = static_cast<double>(tokens);
  for (double& share : point.exit_share) share /= count;
  point.mean_loops = loops / count;
  point.perplexity = std::exp(nll / count);
  point.agreement = agree / count;
  return point;
}

// Thresholds at which 0, 10, …, 100 % of the tokens leave at the first look.
std::vector<float> Deciles(ExitRule rule, const std::vector<Look>& first) {
  std::vector<double> sorted;
  for (const Look& look : first) sorted.push_back(look.certainty);
  std::ranges::sort(sorted);
  std::vector<float> thresholds;
  for (size_t tenth = 0; tenth <= 10; ++tenth) {
    const size_t at = std::min(sorted.size() * tenth / 10, sorted.size() - 1);
    thresholds.push_back(ThresholdOf(rule, sorted[at]));
  }
  return thresholds;
}

void CheckOptions(const Engine& engine, const ExitCurveOptions& options) {
  const auto fail = [](const char* field, std::string problem, std::string expected) {
    throw Error({.function = "MeasureExits",
                 .problem = std::move(problem),
                 .expected = std::move(expected),
                 .file = {},
                 .field = field});
  };
  if (options.rule == ExitRule::kNever || options.rule == ExitRule::kTrace) {
    fail("rule", std::string(Name(options.rule)), "confidence, entropy, hidden-change or gate");
  }
  if (options.rule == ExitRule::kGate && !engine.has_exit_gate()) {
    fail("rule", "gate", "another rule: the model has no exit gate");
  }
  const int loops = engine.loops().loops;
  if (loops < 2) fail("model", "one loop only", "a model whose layers return");
  if (options.min_loops < 1 || options.min_loops > loops) {
    fail("min_loops", std::to_string(options.min_loops), "1 to " + std::to_string(loops));
  }
}

}  // namespace

ExitCurve MeasureExits(const Engine& engine, std::span<const int32_t> tokens,
                       const ExitCurveOptions& options, const WindowOptions& window_options) {
  CheckOptions(engine, options);
  const auto windows =
      MakeWindows(static_cast<int64_t>(tokens.size()), window_options, engine.config());
  Progress progress("exits", static_cast<int64_t>(windows.size()), window_options.quiet);
  Observer observer(engine, options.rule, window_options.context);
  for (const Window& window : windows) {
    observer.Window(tokens.subspan(static_cast<size_t>(window.begin),
                                   static_cast<size_t>(window.end - window.begin)),
                    window.scored);
    progress.Add();
  }
  const auto& looks = observer.looks();
  ExitCurve curve{.loops = engine.loops().loops,
                  .tokens = static_cast<int64_t>(looks[0].size()),
                  .loop_perplexity = {},
                  .loop_agreement = {},
                  .points = {}};
  for (int loop = 1; loop <= curve.loops; ++loop) {
    const ExitPoint all = PointAt(looks, -std::numeric_limits<double>::infinity(), loop);
    curve.loop_perplexity.push_back(all.perplexity);
    curve.loop_agreement.push_back(all.agreement);
  }
  std::vector<float> thresholds = options.thresholds;
  if (thresholds.empty()) {
    thresholds = Deciles(options.rule, looks[static_cast<size_t>(options.min_loops) - 1]);
  }
  std::ranges::sort(thresholds, {}, [&](float t) { return CertaintyAt(options.rule, t); });
  for (const float threshold : thresholds) {
    ExitPoint point = PointAt(looks, CertaintyAt(options.rule, threshold), options.min_loops);
    point.threshold = threshold;
    curve.points.push_back(std::move(point));
  }
  return curve;
}

}  // namespace rondo
