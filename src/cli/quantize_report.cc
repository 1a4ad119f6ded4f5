#include "cli/quantize_report.h"

#include <cmath>
#include <cstdio>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "base/file.h"
#include "cli/session.h"
#include "eval/error_growth.h"
#include "fold/residual.h"
#include "report/line_plot.h"

namespace rondo::cli {
namespace {

// Length of the difference relative to that of `before`, both in the Frobenius norm.
double TensorError(const Tensor& before, const Tensor& after) {
  std::vector<float> a(static_cast<size_t>(before.cols())), b(a.size());
  double error = 0, length = 0;
  for (int64_t r = 0; r < before.rows(); ++r) {
    RowToF32(before, r, a.data());
    RowToF32(after, r, b.data());
    for (size_t i = 0; i < a.size(); ++i) {
      error += (double{b[i]} - a[i]) * (double{b[i]} - a[i]);
      length += double{a[i]} * a[i];
    }
  }
  return length > 0 ? std::sqrt(error / length) : 0;
}

// "blocks.3.q.weight" is "blocks q", "merged.5.q" "merged q", embed.weight "embed".
std::string KindOf(const std::string& name) {
  const size_t first = name.find('.');
  const std::string front = name.substr(0, first);
  if (front != "blocks" && front != "merged") return front;
  const size_t second = name.find('.', first + 1), third = name.find('.', second + 1);
  return front + " " + name.substr(second + 1, third - second - 1);
}

struct Mean {
  double sum = 0;
  int count = 0;
};

// Errors by name, and their means by kind and type.
struct Errors {
  Output all;
  std::map<std::pair<std::string, std::string>, Mean> means;

  void Add(const std::string& name, const std::string& type, double error) {
    all.Add(name, error);
    Mean& mean = means[{KindOf(name), type}];
    mean.sum += error;
    ++mean.count;
  }
  void Print() const {
    std::printf("%-16s %6s %8s %12s\n", "matrices", "type", "count", "mean error");
    for (const auto& [kind, mean] : means) {
      std::printf("%-16s %6s %8d %12.5f\n", kind.first.c_str(), kind.second.c_str(), mean.count,
                  mean.sum / mean.count);
    }
    std::printf("\n");
  }
};

// Which time a depth uses its block of `down`, from 1.
std::vector<int> LoopsOf(const SharingPlan& plan) {
  std::map<int, int> uses;
  std::vector<int> loops;
  for (const int block : plan[Module::kDown].blocks) loops.push_back(++uses[block]);
  return loops;
}

void PrintGrowth(const std::vector<int>& loops, const SharingPlan& plan,
                 const ErrorGrowth& growth) {
  std::printf("%5s %6s %5s %20s\n", "depth", "block", "loop", "hidden-state error");
  for (size_t depth = 0; depth < loops.size(); ++depth) {
    std::printf("%5zu %6d %5d %20.5f\n", depth, plan[Module::kDown].blocks[depth], loops[depth],
                growth.hidden[depth]);
  }
  std::printf("\n");
}

// A line for each loop.
void WritePicture(const std::string& path, const std::vector<int>& loops,
                  const ErrorGrowth& growth) {
  std::map<int, PlotLine> lines;
  for (size_t depth = 0; depth < loops.size(); ++depth) {
    PlotLine& line = lines[loops[depth]];
    line.name = "loop " + std::to_string(loops[depth]);
    line.points.push_back({static_cast<double>(depth), growth.hidden[depth], {}});
  }
  std::vector<PlotLine> all;
  for (auto& [loop, line] : lines) all.push_back(std::move(line));
  WriteTextFile(path,
                LinePlotSvg("Error of the quantised model from depth to depth", all,
                            {.x_axis = "depth", .y_axis = "relative error of the hidden state"}));
}

}  // namespace

void AddTensorErrors(const Model& model, const Model& written, const CommonOptions& common,
                     Output* out) {
  Errors errors;
  for (const auto& [name, tensor] : written.weights) {
    if (tensor.shape().size() < 2 || name.starts_with("residual.")) continue;
    errors.Add(name, std::string(Info(tensor.dtype()).name),
               TensorError(model.weights.Get(name), tensor));
  }
  for (int depth = 0; depth < model.plan.depths; ++depth) {
    for (const Module m : kAllModules) {
      if (!IsLinear(m) || !model.plan.HasResidual(m, depth)) continue;
      errors.Add("merged." + std::to_string(depth) + "." + std::string(Name(m)), "",
                 TensorError(MergedWeight(model.weights, model.plan, m, depth),
                             MergedWeight(written.weights, written.plan, m, depth)));
    }
  }
  out->AddJson("tensor_errors", errors.all.Json());
  if (!common.json) errors.Print();
}

void AddErrorGrowth(const Model& model, const Model& written, const QuantizeCommandOptions& options,
                    const CommonOptions& common, ThreadPool& pool, Output* out) {
  const auto tokens = EncodeFile(*LoadTokenizer(model.path), options.evaluate);
  const Engine a(model, {}, pool), b(written, {}, pool);
  const ErrorGrowth growth =
      MeasureErrorGrowth(a, b, tokens,
                         {.context = Positions("--evaluate-context", options.evaluate_context,
                                               WindowOptions().context, model.config),
                          .max_tokens = options.evaluate_tokens,
                          .quiet = common.quiet});
  const std::vector<int> loops = LoopsOf(model.plan);
  out->Add("perplexity_before", growth.perplexity_a);
  out->Add("perplexity", growth.perplexity_b);
  out->Add("kl", growth.divergence.kl);
  out->Add("top1_agreement", growth.divergence.top1_agreement);
  out->Add("tokens", growth.tokens);
  out->AddJson("loop_of_depth", JsonArray(loops));
  out->AddJson("hidden_error", JsonArray(growth.hidden));
  if (!options.svg.empty()) WritePicture(options.svg, loops, growth);
  if (!common.json) PrintGrowth(loops, model.plan, growth);
}

}  // namespace rondo::cli
