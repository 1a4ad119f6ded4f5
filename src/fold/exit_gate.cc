#include "rondo/exit_gate.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <string>
#include <utility>

#include "base/progress.h"
#include "engine/text_run.h"
#include "fold/logistic.h"
#include "rondo/error.h"
#include "rondo/thread_pool.h"

namespace rondo {
namespace {

constexpr size_t kLeastTokens = 100;
constexpr size_t kHeadRows = 128;
constexpr std::array kRidges = {1e-3, 1e-2, 1e-1, 1.0};

// What the gate of one loop is fitted to.
struct Examples {
  std::vector<double> states;  // [tokens, d_model], of mean square 1
  std::vector<int32_t> best;   // [tokens] most likely next token after this loop
};

class Collector {
 public:
  Collector(const Engine& engine, int context)
      : shape_(engine.loops()), run_(engine, context), loops_(static_cast<size_t>(shape_.loops)) {}

  void Add(std::span<const int32_t> tokens) {
    run_.Start(tokens);
    for (int depth = 0; depth < shape_.prologue; ++depth) run_.RunDepth(depth);
    for (int loop = 0; loop < shape_.loops; ++loop) {
      for (int stage = 0; stage < shape_.stages; ++stage) run_.RunDepth(shape_.Depth(loop, stage));
      std::vector<float> leaving = run_.hidden();
      for (int i = 0; i < shape_.epilogue; ++i) run_.RunDepth(shape_.EpilogueDepth(i), leaving);
      AddLoop(loops_[static_cast<size_t>(loop)], leaving);
    }
  }

  std::vector<Examples>& loops() { return loops_; }

 private:
  void AddLoop(Examples& examples, const std::vector<float>& leaving) {
    const auto vocab = static_cast<size_t>(run_.engine().config().vocab);
    std::vector<float> logits(kHeadRows * vocab);
    for (size_t first = 0; first < run_.rows(); first += kHeadRows) {
      const size_t count = std::min(kHeadRows, run_.rows() - first);
      run_.Head(leaving, first, count, logits.data());
      for (size_t i = 0; i < count; ++i) {
        const auto begin = logits.begin() + static_cast<std::ptrdiff_t>(i * vocab);
        const auto end = begin + static_cast<std::ptrdiff_t>(vocab);
        examples.best.push_back(static_cast<int32_t>(std::max_element(begin, end) - begin));
        AddState(examples, run_.row(first + i));
      }
    }
  }

  static void AddState(Examples& examples, std::span<const float> state) {
    const double squares = std::inner_product(state.begin(), state.end(), state.begin(), 0.0);
    const double rms = std::sqrt(squares / static_cast<double>(state.size()));
    for (const float value : state) examples.states.push_back(rms > 0 ? value / rms : 0);
  }

  LoopShape shape_;
  TextRun run_;
  std::vector<Examples> loops_;
};

// Rows [first, last) of a matrix.
MatrixF64 Rows(const MatrixF64& x, int64_t first, int64_t last) {
  return MatrixF64(last - first, x.cols(), {x.row(first), x.row(last)});
}

struct GateFit {
  LogisticFit gate;
  double ridge = 0;
};

// The ridge that predicts the last fifth best from the rest; then a fit to everything.
GateFit FitGate(const MatrixF64& x, const std::vector<uint8_t>& answers, ThreadPool& pool) {
  const int64_t split = x.rows() - x.rows() / 5;
  const auto at = answers.begin() + split;
  const MatrixF64 early = Rows(x, 0, split), late = Rows(x, split, x.rows());
  const std::vector<uint8_t> early_answers(answers.begin(), at), late_answers(at, answers.end());
  std::array<double, kRidges.size()> loss;
  pool.ParallelFor(static_cast<int64_t>(kRidges.size()), [&](int64_t i) {
    const auto r = static_cast<size_t>(i);
    loss[r] = LogisticLoss(FitLogistic(early, early_answers, kRidges[r]), late, late_answers);
  });
  const double ridge = kRidges[static_cast<size_t>(std::ranges::min_element(loss) - loss.begin())];
  return {FitLogistic(x, answers, ridge), ridge};
}

void Check(const Engine& engine, std::span<const int32_t> tokens, const ExitGateOptions& options) {
  const auto fail = [](const char* field, std::string problem, std::string expected) {
    throw Error({.function = "FitExitGate",
                 .problem = std::move(problem),
                 .expected = std::move(expected),
                 .file = {},
                 .field = field});
  };
  if (engine.loops().loops < 2) fail("model", "one loop only", "a model whose layers return");
  if (options.context < 2) fail("context", std::to_string(options.context), "2 or more");
  if (options.max_tokens < 0) fail("max_tokens", std::to_string(options.max_tokens), "0 or more");
  if (tokens.size() < kLeastTokens) {
    fail("tokens", std::to_string(tokens.size()), std::to_string(kLeastTokens) + " or more");
  }
}

void SetGate(Model& model, int loop, const LogisticFit& fit) {
  model.weights.Set(
      ExitGateTensor(loop, "weight"),
      Tensor::FromF32({model.config.d_model}, {fit.weights.begin(), fit.weights.end()}));
  model.weights.Set(ExitGateTensor(loop, "bias"),
                    Tensor::FromF32({1}, {static_cast<float>(fit.bias)}));
}

}  // namespace

ExitGateFit FitExitGate(const Model& model, const Engine& engine, std::span<const int32_t> tokens,
                        const ExitGateOptions& options, ThreadPool& pool) {
  if (options.max_tokens > 0) {
    tokens = tokens.first(std::min(tokens.size(), static_cast<size_t>(options.max_tokens)));
  }
  Check(engine, tokens, options);
  const auto context = std::min(static_cast<size_t>(options.context), tokens.size());
  const size_t sequences = tokens.size() / context;
  Progress progress("exit gate", static_cast<int64_t>(sequences), options.quiet);
  Collector collector(engine, static_cast<int>(context));
  for (size_t i = 0; i < sequences; ++i) {
    collector.Add(tokens.subspan(i * context, context));
    progress.Add();
  }

  ExitGateFit result{.model = model};
  result.model.plan.exit_gate = true;
  result.tokens = static_cast<int64_t>(sequences * context);
  const std::vector<int32_t> last = collector.loops().back().best;
  for (size_t loop = 0; loop + 1 < collector.loops().size(); ++loop) {
    Examples examples = std::move(collector.loops()[loop]);
    const MatrixF64 x(result.tokens, model.config.d_model, std::move(examples.states));
    std::vector<uint8_t> answers;
    for (size_t i = 0; i < last.size(); ++i) answers.push_back(examples.best[i] == last[i]);
    const GateFit fit = FitGate(x, answers, pool);
    SetGate(result.model, static_cast<int>(loop), fit.gate);
    result.agreement.push_back(std::accumulate(answers.begin(), answers.end(), 0.0) /
                               static_cast<double>(answers.size()));
    result.ridge.push_back(fit.ridge);
  }
  return result;
}

}  // namespace rondo
