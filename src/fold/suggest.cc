#include <algorithm>
#include <array>
#include <cmath>
#include <memory>
#include <string>
#include <utility>

#include "base/progress.h"
#include "fold/calibrate_statistics.h"
#include "fold/require_plain.h"
#include "fold/similarity.h"
#include "fold/suggest_pairs.h"
#include "kernels/log_softmax.h"
#include "rondo/calibrate.h"
#include "rondo/error.h"
#include "rondo/thread_pool.h"

namespace rondo {
namespace {

using Tokens = std::span<const int32_t>;

// Perplexity over windows without overlap.
double HeldOutPerplexity(const Model& model, Tokens tokens, int context, ThreadPool& pool) {
  const Engine engine(model, {}, pool);
  const auto window = static_cast<size_t>(context), vocab = static_cast<size_t>(model.config.vocab);
  double nll = 0;
  int64_t count = 0;
  for (size_t start = 0; start + 1 < tokens.size(); start += window) {
    const Tokens part = tokens.subspan(start, std::min(window, tokens.size() - start));
    KvCache cache = engine.NewCache(static_cast<int>(part.size()));
    const std::vector<float> logits = engine.Prefill(cache, part, /*all_logits=*/true);
    for (size_t i = 0; i + 1 < part.size(); ++i, ++count) {
      const float* row = logits.data() + i * vocab;
      nll += LogSumExp({row, vocab}) - row[part[i + 1]];
    }
  }
  return std::exp(nll / static_cast<double>(count));
}

// How many pairs of attention and of feed-forward blocks a plan ties.
struct Candidate {
  size_t attention_pairs = 0;
  size_t ffn_pairs = 0;
  double loss = 0;
  int64_t parameters = 0;
};

class Suggester {
 public:
  Suggester(const Model& model, const FoldOptions& fold, Tokens tokens,
            const SuggestOptions& options, ThreadPool& pool, bool quiet)
      : model_(model), fold_(fold), options_(options), pool_(pool), quiet_(quiet) {
    RequirePlain(model, "Suggest");
    if (model.config.layers < 2) Refuse("a model of one layer", "at least two layers");
    if (options.points < 1 || options.tie_tokens < 2 || options.evaluation_tokens < 2) {
      Refuse("too few points or tokens", "at least 1 point and 2 tokens");
    }
    const auto evaluation =
        std::min(static_cast<size_t>(options.evaluation_tokens), tokens.size() / 4);
    if (evaluation < 2) {
      Refuse(std::to_string(tokens.size()) + " tokens of text", "at least 8; give more text");
    }
    calibration_ = tokens.first(tokens.size() - evaluation);
    held_out_ = tokens.last(evaluation);
    context_ = options.calibrate.context;
    if (model.config.max_positions > 0) context_ = std::min(context_, model.config.max_positions);
    plan_ = PlanOf({}, {});
  }

  SuggestReport Run() {
    const int depths = model_.config.layers;
    report_.depths = depths;
    report_.held_out_tokens = std::ssize(held_out_);
    report_.perplexity = HeldOutPerplexity(model_, held_out_, context_, pool_);
    LayerRunner runner(model_.config, calibration_, options_.calibrate.context,
                       options_.calibrate.max_tokens, pool_);
    const auto statistics = MeasureDepths(
        model_, plan_, [](int, TapPoint) { return true; }, runner, pool_, quiet_);
    MeasureTies(statistics);
    for (const Candidate& candidate : Curve()) {
      Suggestion suggestion;
      suggestion.plan =
          PlanOf(Pairs(attention_, candidate.attention_pairs), Pairs(ffn_, candidate.ffn_pairs));
      suggestion.non_embedding_parameters = candidate.parameters;
      suggestion.predicted_kl = candidate.loss;
      const Model folded = FoldMeasured(model_, suggestion.plan, fold_, statistics, runner,
                                        options_.calibrate, pool_, quiet_);
      suggestion.perplexity = HeldOutPerplexity(folded, held_out_, context_, pool_);
      report_.suggestions.push_back(std::move(suggestion));
    }
    return std::move(report_);
  }

 private:
  [[noreturn]] static void Refuse(std::string problem, std::string expected) {
    throw Error(
        {.function = "Suggest", .problem = std::move(problem), .expected = std::move(expected)});
  }

  static const std::vector<int>& Pairs(const std::vector<PairChoice>& choices, size_t pairs) {
    return choices[pairs].firsts;
  }

  SharingPlan PlanOf(const std::vector<int>& attention, const std::vector<int>& ffn) const {
    FoldOptions fold = fold_;
    const auto order = [&](const std::vector<int>& firsts) {
      TieOrder custom{.order = firsts.empty() ? "identity" : "custom"};
      if (!firsts.empty()) custom.blocks = BlocksOfPairs(firsts, model_.config.layers);
      return custom;
    };
    fold.order[static_cast<size_t>(ModuleGroup::kAttention)] = order(attention);
    fold.order[static_cast<size_t>(ModuleGroup::kFfn)] = order(ffn);
    fold.order[static_cast<size_t>(ModuleGroup::kNorms)] = order({});
    return MakePlan(model_.config, fold);
  }

  void MeasureTies(const std::vector<DepthStatistics>& statistics) {
    const int depths = model_.config.layers;
    const Engine engine(model_, {}, pool_);
    TieProbe probe(model_, engine, calibration_, options_.tie_tokens, pool_);
    Progress progress("tie losses", int64_t{depths} * depths + 2 * (depths - 1), quiet_);
    report_.similarity = probe.Similarity();
    MeasureSubstitutions(probe, progress);
    for (int depth = 0; depth + 1 < depths; ++depth) {
      report_.attention_tie_loss.push_back(
          PairLoss(ModuleGroup::kAttention, depth, statistics, probe));
      report_.ffn_tie_loss.push_back(PairLoss(ModuleGroup::kFfn, depth, statistics, probe));
      progress.Add(2);
    }
    attention_ = BestPairs(report_.attention_tie_loss);
    ffn_ = BestPairs(report_.ffn_tie_loss);
  }

  void MeasureSubstitutions(TieProbe& probe, Progress& progress) {
    const int depths = model_.config.layers;
    for (int from = 0; from < depths; ++from) {
      DenseLayer layer;
      LoadSourceLayer(model_, plan_, from, layer, pool_);
      for (int at = 0; at < depths; ++at) {
        LoadSourceNorms(model_, plan_, at, layer);
        report_.tie_loss.push_back(from == at ? 0 : probe.Loss({{at, &layer}}));
        progress.Add();
      }
    }
  }

  // Loss of tying one group of modules of two neighbours, everything else as it was.
  double PairLoss(ModuleGroup group, int depth, const std::vector<DepthStatistics>& statistics,
                  TieProbe& probe) {
    const bool attention = group == ModuleGroup::kAttention;
    const SharingPlan plan = attention ? PlanOf({depth}, {}) : PlanOf({}, {depth});
    const SourceLayers source(model_, plan);
    const int pair[] = {depth, depth + 1};
    std::array<DenseLayer, 2> layers;
    for (size_t i = 0; i < 2; ++i) LoadSourceLayer(model_, plan, pair[i], layers[i], pool_);
    pool_.ParallelFor(kLinearCount, [&](int64_t i) {
      const Module m = kAllModules[static_cast<size_t>(i)];
      if (GroupOf(m) != group || !model_.config.HasModule(m)) return;
      const TiedFit fit = FitGroup(source, plan, statistics, m, pair, options_.calibrate.damping);
      for (size_t d = 0; d < 2; ++d) {
        layers[d].SetLinear(m, MergedMatrix(plan[m].residual, fit, d));
      }
    });
    return probe.Loss({{depth, &layers[0]}, {depth + 1, &layers[1]}});
  }

  // For evenly spaced sizes between the whole and the smallest plan: the least predicted loss.
  std::vector<Candidate> Curve() const {
    std::vector<Candidate> all;
    for (size_t a = 0; a < attention_.size(); ++a) {
      for (size_t f = 0; f < ffn_.size(); ++f) {
        const SharingPlan plan = PlanOf(attention_[a].firsts, ffn_[f].firsts);
        all.push_back({a, f, attention_[a].cost + ffn_[f].cost,
                       CountParameters(model_.config, plan).NonEmbedding()});
      }
    }
    const auto by_size = [](const Candidate& x, const Candidate& y) {
      return x.parameters < y.parameters;
    };
    const int64_t whole = all.front().parameters;
    const int64_t least = std::min_element(all.begin(), all.end(), by_size)->parameters;
    if (least >= whole) {
      Refuse("ties with these residuals save nothing", "a smaller rank");
    }
    std::vector<Candidate> curve;
    for (int point = 1; point <= options_.points; ++point) {
      const int64_t target = whole - (whole - least) * point / options_.points;
      const Candidate* best = nullptr;
      for (const Candidate& c : all) {
        if (c.parameters <= target && (best == nullptr || c.loss < best->loss)) best = &c;
      }
      const bool repeated = !curve.empty() && curve.back().parameters == best->parameters &&
                            curve.back().loss == best->loss;
      if (!repeated) curve.push_back(*best);
    }
    return curve;
  }

  const Model& model_;
  const FoldOptions& fold_;
  const SuggestOptions& options_;
  ThreadPool& pool_;
  bool quiet_;
  int context_ = 0;
  Tokens calibration_, held_out_;
  SharingPlan plan_;  // nothing shared, norms as asked for
  std::vector<PairChoice> attention_, ffn_;
  SuggestReport report_;
};

}  // namespace

SuggestReport Suggest(const Model& model, const FoldOptions& fold, std::span<const int32_t> tokens,
                      const SuggestOptions& options, ThreadPool& pool, bool quiet) {
  model.config.Validate();
  CheckCalibrated(fold.residual);
  return Suggester(model, fold, tokens, options, pool, quiet).Run();
}

}  // namespace rondo
