#include "report/run_curves.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <optional>
#include <set>

#include "report/line_plot.h"

namespace rondo {
namespace {

constexpr size_t kDensePoints = 200;  // of a curve after thinning
constexpr size_t kMarkedPoints = 40;  // up to so many are drawn as dots
constexpr size_t kLegendBytes = 20;

using Value = std::function<std::optional<double>(const RunMetrics&)>;

struct Curve {
  std::string title;
  std::string unit;
  bool logarithmic;
  Value value;
};

// Numbers of decisions about ties that are no course of anything.
const std::set<std::string> kNoCurves = {"action", "decision", "depth", "episode",
                                         "unit",   "explored", "value", "target"};

// What the names of further values mean; a number behind one counts loops. Others are read as
// words.
const std::map<std::string, std::string> kTitles = {
    {"agent_loss", "loss of the agent that ties"},
    {"attention", "attention loss"},
    {"bleu", "BLEU"},
    {"character_error", "character error rate"},
    {"consistency", "consistency loss"},
    {"ctc", "CTC loss"},
    {"exit_ce", "cross-entropy at exit"},
    {"fading", "share of the fading weights"},
    {"ffn_width", "width of the feed-forwards"},
    {"gate_accuracy", "accuracy of the exit gate"},
    {"gate_agreement", "agreement of the exit gate"},
    {"gate_loss", "loss of the exit gate"},
    {"hidden", "loss of hidden states"},
    {"independent_layers", "layers with weights of their own"},
    {"infeasible", "utterances too short for their text"},
    {"transducer", "transducer loss"},
    {"valid_perplexity_fading", "validation perplexity while fading"},
    {"word_error", "word error rate"}};

// "loss of the exit gate 2" of "gate_loss_2", "stored parameters" of "stored_parameters".
std::string TitleOf(const std::string& name) {
  const auto exact = kTitles.find(name);
  if (exact != kTitles.end()) return exact->second;
  const size_t last = name.rfind('_');
  if (last != name.npos) {
    const auto counted = kTitles.find(name.substr(0, last));
    if (counted != kTitles.end()) return counted->second + " " + name.substr(last + 1);
  }
  std::string words = name;
  std::ranges::replace(words, '_', ' ');
  return words;
}

std::vector<Curve> Curves(const std::vector<RunData>& runs) {
  const auto field = [](std::optional<double> RunMetrics::*member) -> Value {
    return [member](const RunMetrics& line) { return line.*member; };
  };
  std::vector<Curve> curves = {
      {"loss", "loss", false, field(&RunMetrics::loss)},
      {"cross-entropy", "nats a token", false, field(&RunMetrics::ce)},
      {"distillation loss", "loss", false, field(&RunMetrics::kd)},
      {"validation perplexity", "perplexity", true, field(&RunMetrics::valid_perplexity)},
      {"learning rate", "learning rate", false, field(&RunMetrics::lr)},
      {"gradient norm", "norm before clipping", true, field(&RunMetrics::grad_norm)},
      {"speed", "tokens/s", false, field(&RunMetrics::tokens_per_s)},
      {"resident memory", "GiB", false, [](const RunMetrics& line) -> std::optional<double> {
         if (!line.resident_bytes) return {};
         return static_cast<double>(*line.resident_bytes) * 0x1p-30;
       }}};
  std::set<std::string> more;
  for (const RunData& run : runs) {
    for (const RunMetrics& line : run.lines) {
      for (const auto& [name, value] : line.more) {
        if (!kNoCurves.contains(name)) more.insert(name);
      }
    }
  }
  for (const std::string& name : more) {
    const std::string title = TitleOf(name);
    curves.push_back({title, title, false, [name](const RunMetrics& line) -> std::optional<double> {
                        const auto found = line.more.find(name);
                        if (found == line.more.end()) return {};
                        return found->second;
                      }});
  }
  return curves;
}

double Position(const RunMetrics& line, RunAxis axis) {
  switch (axis) {
    case RunAxis::kSteps:
      return static_cast<double>(line.step);
    case RunAxis::kTokens:
      return static_cast<double>(line.tokens) / 1e6;
    case RunAxis::kMinutes:
      break;
  }
  return line.seconds / 60;
}

const char* AxisName(RunAxis axis) {
  constexpr const char* kNames[] = {"steps", "million tokens", "minutes"};
  return kNames[static_cast<size_t>(axis)];
}

// Means of equal groups of neighbours.
std::vector<PlotPoint> Thin(const std::vector<PlotPoint>& points) {
  if (points.size() <= kDensePoints) return points;
  std::vector<PlotPoint> out;
  for (size_t group = 0; group < kDensePoints; ++group) {
    const size_t begin = group * points.size() / kDensePoints;
    const size_t end = (group + 1) * points.size() / kDensePoints;
    PlotPoint mean{0, 0, {}};
    for (size_t i = begin; i < end; ++i) {
      mean.x += points[i].x / static_cast<double>(end - begin);
      mean.y += points[i].y / static_cast<double>(end - begin);
    }
    out.push_back(mean);
  }
  return out;
}

std::string LegendName(const std::string& name) {
  if (name.size() <= kLegendBytes) return name;
  size_t begin = name.size() - kLegendBytes;  // the ends of paths tell them apart
  while (begin < name.size() && (static_cast<unsigned char>(name[begin]) & 0xc0u) == 0x80u) ++begin;
  return "…" + name.substr(begin);
}

PlotLine ToLine(const RunData& run, const Curve& curve, RunAxis axis) {
  PlotLine line{.name = LegendName(run.name), .points = {}};
  for (const RunMetrics& metrics : run.lines) {
    const std::optional<double> value = curve.value(metrics);
    if (!value || !std::isfinite(*value) || (curve.logarithmic && *value <= 0)) continue;
    line.points.push_back({Position(metrics, axis), *value, {}});
  }
  line.points = Thin(line.points);
  return line;
}

}  // namespace

std::vector<std::string> RunCurves(const std::vector<RunData>& runs, RunAxis axis) {
  std::vector<std::string> pictures;
  for (const Curve& curve : Curves(runs)) {
    std::vector<PlotLine> lines;
    size_t longest = 0;
    for (const RunData& run : runs) {
      lines.push_back(ToLine(run, curve, axis));
      longest = std::max(longest, lines.back().points.size());
    }
    if (longest == 0) continue;
    pictures.push_back(LinePlotSvg(curve.title, lines,
                                   {.x_axis = AxisName(axis),
                                    .y_axis = curve.unit,
                                    .logarithmic_y = curve.logarithmic,
                                    .whole_x = axis == RunAxis::kSteps,
                                    .markers = longest <= kMarkedPoints}));
  }
  return pictures;
}

}  // namespace rondo
