#include "rondo/compress.h"

#include <algorithm>
#include <array>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "compress/operator.h"
#include "compress/repair.h"
#include "compress/search.h"
#include "fold/require_plain.h"
#include "rondo/error.h"
#include "rondo/quantize.h"

namespace rondo {
namespace {

constexpr std::array kUniform = {DType::kQ8_0, DType::kQ4_1, DType::kQ4_0, DType::kQ3_1,
                                 DType::kQ3_0, DType::kQ2_1, DType::kQ2_0};

// Matrices in the type that they came in where that is a quantised one and bytes count.
State StartingState(const Model& model, BudgetKind kind) {
  State state = InitialState(model, kind == BudgetKind::kBytes ? DType::kQ8_0 : DType::kBF16);
  if (kind == BudgetKind::kParameters) return state;
  for (const auto& [name, tensor] : model.weights) {
    const bool kept = IsQuantized(tensor.dtype()) && CanEncode(tensor.dtype());
    if (kept) state.types[name] = tensor.dtype();
  }
  return state;
}

CostOf CostIn(BudgetKind kind) {
  switch (kind) {
    case BudgetKind::kParameters:
      return [](const State& state) {
        return static_cast<double>(
            CountParameters(state.model.config, state.model.plan).NonEmbedding());
      };
    case BudgetKind::kTokenBytes:
      return [](const State& state) { return static_cast<double>(TokenBytes(state)); };
    case BudgetKind::kBytes:
      break;
  }
  return [](const State& state) { return static_cast<double>(StoredTensorBytes(state)); };
}

// Numbers that one returning pass has of its own: its norms, and two gains where no norm takes
// them.
double ReturnNumbers(const Model& model) {
  const ModelConfig& config = model.config;
  int64_t numbers = config.post_norms ? 0 : 2 * config.d_model;
  for (const Module m : kAllModules) {
    if (IsLinear(m) || !config.HasModule(m)) continue;
    numbers += ElementCount(config.ModuleShape(m)) * (config.HasBias(m) ? 2 : 1);
  }
  return static_cast<double>(numbers);
}

// The cost with all gone depths returned.
CostOf WithReturns(CostOf cost, BudgetKind kind, const Model& model) {
  const double each =
      ReturnNumbers(model) * (kind == BudgetKind::kParameters ? 1.0 : double{sizeof(float)});
  return [cost = std::move(cost), each](const State& state) {
    return cost(state) + each * static_cast<double>(state.model.plan.gone.size());
  };
}

// The types as rules of a plan: the most frequent one for all blocks, then what differs.
std::vector<TensorTypeRule> RulesOf(const State& state) {
  std::map<DType, int> counts;
  for (const auto& [name, type] : state.types) {
    if (name.starts_with("blocks.") && IsQuantized(type)) ++counts[type];
  }
  std::vector<TensorTypeRule> rules;
  std::optional<DType> usual;
  if (!counts.empty()) {
    usual = std::ranges::max_element(counts, {}, [](const auto& e) { return e.second; })->first;
    rules.push_back({"blocks.*", *usual});
  }
  for (const auto& [name, type] : state.types) {
    if (state.model.weights.Get(name).shape().size() < 2 || IsPrefixTensor(name)) continue;
    if (!name.starts_with("blocks.") || type != usual) rules.push_back({name, type});
  }
  return rules;
}

bool Allowed(const std::vector<std::string>& only, std::string_view name) {
  return only.empty() || std::ranges::find(only, name) != only.end();
}

// A pass that returns costs time, so it is no means to speed.
bool Returns(const CompressOptions& options) {
  return options.target.kind != BudgetKind::kTokenBytes && Allowed(options.only, "return");
}

// Keeps what lowers the loss on the judge's text.
class Finisher {
 public:
  Finisher(const Model& original, std::span<const int32_t> tokens, const CompressOptions& options,
           ThreadPool& pool)
      : original_(original), tokens_(tokens), options_(options), pool_(pool) {
    repair_.context = options.repair_context;
    repair_.max_tokens = options.repair_tokens;
    const size_t judged = std::min(tokens.size() / 4, static_cast<size_t>(options.judge_tokens));
    fit_ = tokens.first(tokens.size() - judged);
    const auto context =
        static_cast<int>(std::min<int64_t>(options.repair_context, static_cast<int64_t>(judged)));
    judge_ = std::make_unique<Meter>(original, tokens.last(judged), context, pool);
  }

  void Run(CompressResult& result, State state) {
    double best = judge_->Measure(state).kl;
    if (Returns(options_) && !state.model.plan.gone.empty()) {
      const int gone = static_cast<int>(state.model.plan.gone.size());
      State with = AddReturns(original_, state, state.model.plan.gone, fit_, repair_, pool_);
      const double kl = judge_->Measure(with).kl;
      if (kl < best || options_.will_train) {
        best = kl;
        state = std::move(with);
        result.returns = gone;
      }
    }
    if (state.model.weights.size() != original_.weights.size() || !SameTensors(state)) {
      State repaired = Repair(original_, state, fit_, repair_, pool_, options_.quiet);
      if (judge_->Measure(repaired).kl < best) {
        state = std::move(repaired);
        result.repaired = true;
      }
    }
    judge_.reset();
    state.model.plan.types = RulesOf(state);
    result.types = state.types;
    result.model = std::move(state.model);
    result.rounded = QuantizeCalibrated(
        result.model, result.types, fit_,
        {.context = options_.repair_context, .max_tokens = options_.repair_tokens}, pool_,
        options_.quiet);
    for (const auto& [name, type] : result.types) {  // embedding and head are still whole
      if (IsQuantized(type)) {
        result.rounded.weights.Set(name, Cast(result.rounded.weights.Get(name), type, &pool_));
      }
    }
  }

 private:
  // Whether nothing but types was changed.
  bool SameTensors(const State& state) const {
    return std::all_of(original_.weights.begin(), original_.weights.end(), [&](const auto& entry) {
      const Tensor* now = state.model.weights.Find(entry.first);
      return now != nullptr && now->bytes().data() == entry.second.bytes().data();
    });
  }

  const Model& original_;
  std::span<const int32_t> tokens_, fit_;
  const CompressOptions& options_;
  ThreadPool& pool_;
  RepairOptions repair_;
  std::unique_ptr<Meter> judge_;
};

}  // namespace

std::vector<std::string> CompressOperators() { return OperatorNames(); }

double BudgetOf(const Model& model, BudgetKind kind) {
  return CostIn(kind)(StartingState(model, kind));
}

TensorTypes StartingTypes(const Model& model) {
  return StartingState(model, BudgetKind::kBytes).types;
}

CompressResult Compress(const Model& model, std::span<const int32_t> tokens,
                        const CompressOptions& options, ThreadPool& pool) {
  RequirePlain(model, "Compress");
  const auto needed = static_cast<size_t>(options.search_tokens + options.search_context);
  if (tokens.size() < needed) {
    throw Error({.function = "Compress",
                 .problem = std::to_string(tokens.size()) + " tokens of text",
                 .expected = "at least " + std::to_string(needed)});
  }
  CompressResult result;
  CostOf cost = CostIn(options.target.kind);
  if (Returns(options)) cost = WithReturns(std::move(cost), options.target.kind, model);
  std::vector<Choice> known;
  for (const CompressStep& step : options.known) {
    known.push_back({.name = step.name, .cost = step.cost, .kl = step.kl, .nll = step.nll});
  }
  const auto chosen = [&](const Choice& choice) {
    if (options.chosen) options.chosen({choice.name, choice.cost, choice.kl, choice.nll});
  };
  State state;
  {
    // The search's text is spread over the whole: pieces of one context.
    std::vector<int32_t> search;
    const auto context = static_cast<size_t>(options.search_context);
    const size_t pieces = std::max<size_t>(1, static_cast<size_t>(options.search_tokens) / context);
    for (size_t i = 0; i < pieces; ++i) {
      const size_t start = pieces == 1 ? 0 : i * (tokens.size() - context) / (pieces - 1);
      const auto piece = tokens.subspan(start, context);
      search.insert(search.end(), piece.begin(), piece.end());
    }
    Meter meter(model, search, options.search_context, pool);
    SearchResult found =
        Search(StartingState(model, options.target.kind), cost, MakeOperators(options.only), meter,
               known, chosen, {.target = options.target.amount, .quiet = options.quiet});
    for (const Choice& choice : found.choices) {
      result.steps.push_back({choice.name, choice.cost, choice.kl, choice.nll});
    }
    state = std::move(found.state);
  }
  Finisher(model, tokens, options, pool).Run(result, std::move(state));
  return result;
}

TensorTypes UniformTypesWithin(const Model& model, double bytes) {
  for (const DType type : kUniform) {
    State state = InitialState(model, type);
    if (static_cast<double>(StoredTensorBytes(state)) <= bytes) return state.types;
  }
  throw Error({.function = "UniformTypesWithin",
               .problem = std::to_string(static_cast<int64_t>(bytes)) + " bytes",
               .expected = "more than the model takes in q2_0"});
}

}  // namespace rondo
