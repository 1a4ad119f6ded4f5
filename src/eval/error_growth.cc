#include "eval/error_growth.h"

#include <cmath>
#include <string>
#include <vector>

#include "base/progress.h"
#include "engine/exit_check.h"
#include "engine/text_run.h"
#include "eval/divergence.h"
#include "eval/logits.h"
#include "eval/windows.h"
#include "kernels/log_softmax.h"
#include "rondo/error.h"

namespace rondo {
namespace {

void RequireAlike(const ModelConfig& a, const ModelConfig& b) {
  const auto require = [](const char* field, int x, int y) {
    if (x == y) return;
    throw Error({.function = "MeasureErrorGrowth",
                 .problem = std::to_string(x) + " and " + std::to_string(y),
                 .expected = "models of the same shape",
                 .file = {},
                 .field = field});
  };
  require("vocab", a.vocab, b.vocab);
  require("d_model", a.d_model, b.d_model);
  require("layers", a.layers, b.layers);
}

// Σ over rows from `first` on of ‖b − a‖ / ‖a‖.
double SumOfErrors(const TextRun& a, const TextRun& b, int64_t first) {
  double sum = 0;
  for (size_t r = static_cast<size_t>(first); r < a.rows(); ++r) {
    const double error = RelativeChange(a.row(r), b.row(r));
    sum += std::isfinite(error) ? error : 0;  // infinite beside a row of zeros
  }
  return sum;
}

class Meter {
 public:
  Meter(const Engine& a, const Engine& b, int context)
      : a_(a, context), b_(b, context), hidden_(static_cast<size_t>(a.config().layers)) {}

  void Add(std::span<const int32_t> ids, int64_t first) {
    a_.Start(ids);
    b_.Start(ids);
    for (size_t depth = 0; depth < hidden_.size(); ++depth) {
      a_.RunDepth(static_cast<int>(depth));
      b_.RunDepth(static_cast<int>(depth));
      hidden_[depth] += SumOfErrors(a_, b_, first);
    }
    AddLogits(ids, first);
  }

  ErrorGrowth Result() const {
    ErrorGrowth growth;
    growth.divergence = sums_.Means(a_.engine().config().vocab);
    growth.tokens = tokens_;
    for (const double sum : hidden_) {
      growth.hidden.push_back(sum / static_cast<double>(growth.divergence.positions));
    }
    const auto tokens = static_cast<double>(std::max<int64_t>(tokens_, 1));
    growth.perplexity_a = std::exp(nll_a_ / tokens);
    growth.perplexity_b = std::exp(nll_b_ / tokens);
    return growth;
  }

 private:
  // Logits of a few rows at a time; `first` rows only give context.
  void AddLogits(std::span<const int32_t> ids, int64_t first) {
    const auto vocab = static_cast<size_t>(a_.engine().config().vocab);
    std::vector<float> logits_a(kLogitRows * vocab), logits_b(kLogitRows * vocab);
    for (size_t begin = 0; begin < ids.size(); begin += kLogitRows) {
      const size_t count = std::min<size_t>(kLogitRows, ids.size() - begin);
      a_.Head(a_.hidden(), begin, count, logits_a.data());
      b_.Head(b_.hidden(), begin, count, logits_b.data());
      for (size_t i = 0; i < count; ++i) {
        const auto row_a = std::span<const float>(logits_a).subspan(i * vocab, vocab);
        const auto row_b = std::span<const float>(logits_b).subspan(i * vocab, vocab);
        const auto position = static_cast<int64_t>(begin + i);
        if (position >= first) sums_.Add(row_a, row_b);
        // As in Perplexity(), a row predicts the next token, which must be one that counts here.
        const auto next = static_cast<size_t>(position) + 1;
        if (next >= ids.size() || static_cast<int64_t>(next) < first) continue;
        const auto target = static_cast<size_t>(ids[next]);
        nll_a_ += LogSumExp(row_a) - row_a[target];
        nll_b_ += LogSumExp(row_b) - row_b[target];
        ++tokens_;
      }
    }
  }

  TextRun a_, b_;
  std::vector<double> hidden_;
  DivergenceSums sums_;
  double nll_a_ = 0, nll_b_ = 0;
  int64_t tokens_ = 0;
};

}  // namespace

ErrorGrowth MeasureErrorGrowth(const Engine& a, const Engine& b, std::span<const int32_t> tokens,
                               const WindowOptions& options) {
  RequireAlike(a.config(), b.config());
  const auto windows = MakeWindows(static_cast<int64_t>(tokens.size()), options, a.config());
  Progress progress("error growth", static_cast<int64_t>(windows.size()), options.quiet);
  Meter meter(a, b, options.context);
  for (const Window& window : windows) {
    const int64_t length = window.end - window.begin;
    meter.Add(tokens.subspan(static_cast<size_t>(window.begin), static_cast<size_t>(length)),
              length - window.scored);
    progress.Add();
  }
  return meter.Result();
}

}  // namespace rondo
