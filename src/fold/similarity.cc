#include "fold/similarity.h"

#include <algorithm>
#include <cmath>

#include "fold/moments.h"
#include "kernels/log_softmax.h"
#include "rondo/thread_pool.h"

namespace rondo {
namespace {

double RowDivergence(const float* p, const float* q, int64_t count) {
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += std::exp(double{p[i]}) * (double{p[i]} - q[i]);
  return sum;
}

double SquaredNorm(const MatrixF64& m) {
  const double norm = FrobeniusNorm(m);
  return norm * norm;
}

// b − a with the mean of every column taken away.
std::vector<float> CenteredUpdate(const std::vector<float>& a, const std::vector<float>& b,
                                  size_t width) {
  std::vector<double> mean(width);
  const double rows = static_cast<double>(a.size()) / static_cast<double>(width);
  for (size_t i = 0; i < a.size(); ++i) mean[i % width] += (double{b[i]} - a[i]) / rows;
  std::vector<float> update(a.size());
  for (size_t i = 0; i < a.size(); ++i) {
    update[i] = static_cast<float>(double{b[i]} - a[i] - mean[i % width]);
  }
  return update;
}

std::span<const int32_t> OneSequence(const ModelConfig& config, std::span<const int32_t> tokens,
                                     int64_t most) {
  int64_t length = std::min<int64_t>(most, std::ssize(tokens));
  if (config.max_positions > 0) length = std::min<int64_t>(length, config.max_positions);
  return tokens.first(static_cast<size_t>(length));
}

}  // namespace

TieProbe::TieProbe(const Model& model, const Engine& engine, std::span<const int32_t> tokens,
                   int64_t most, ThreadPool& pool)
    : engine_(engine),
      pool_(pool),
      depths_(model.config.layers),
      width_(model.config.d_model),
      vocab_(model.config.vocab),
      runner_(model.config, OneSequence(model.config, tokens, most), static_cast<int>(most), 0,
              pool),
      cache_(engine.NewCache(static_cast<int>(runner_.rows()))),
      rows_{&cache_, 0, 0, static_cast<int>(runner_.rows())} {
  cache_.ExpectLength(rows_.count);
  inputs_.push_back(runner_.Embed(model));
  for (int depth = 0; depth < depths_; ++depth) {
    inputs_.push_back(inputs_.back());
    RunDepth(depth, inputs_.back());
  }
  log_probs_.resize(static_cast<size_t>(runner_.rows()) * static_cast<size_t>(vocab_));
  engine_.Head(inputs_.back().data(), runner_.rows(), log_probs_.data());
  const auto width = static_cast<size_t>(vocab_);
  pool.ParallelFor(runner_.rows(), [&](int64_t r) {
    LogSoftmax(std::span(log_probs_).subspan(static_cast<size_t>(r) * width, width), vocab_);
  });
}

void TieProbe::RunDepth(int depth, std::vector<float>& hidden) {
  rows_.depth = depth;
  engine_.RunLayer({&rows_, 1}, hidden.data());
}

std::vector<double> TieProbe::Similarity() const {
  std::vector<std::vector<float>> updates;
  for (size_t d = 0; d < static_cast<size_t>(depths_); ++d) {
    updates.push_back(CenteredUpdate(inputs_[d], inputs_[d + 1], static_cast<size_t>(width_)));
  }
  const auto n = static_cast<size_t>(depths_);
  std::vector<double> cross(n * n);
  pool_.ParallelFor(static_cast<int64_t>(n * n), [&](int64_t pair) {
    const size_t i = static_cast<size_t>(pair) / n, j = static_cast<size_t>(pair) % n;
    if (j < i) return;
    const int64_t rows = runner_.rows();
    cross[i * n + j] = SquaredNorm(
        CrossMoment({updates[i].data(), rows, width_}, {updates[j].data(), rows, width_}, pool_));
  });
  std::vector<double> cka(n * n);
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = i; j < n; ++j) {
      const double scale = std::sqrt(cross[i * n + i] * cross[j * n + j]);
      cka[i * n + j] = cka[j * n + i] = scale > 0 ? cross[i * n + j] / scale : 0;
    }
  }
  return cka;
}

double TieProbe::Loss(const std::map<int, const DenseLayer*>& layers) {
  const int first = layers.begin()->first;
  std::vector<float> hidden = inputs_[static_cast<size_t>(first)];
  for (int depth = first; depth < depths_; ++depth) {
    const auto changed = layers.find(depth);
    if (changed == layers.end()) {
      RunDepth(depth, hidden);
    } else {
      runner_.Run(*changed->second, depth, hidden, {});
    }
  }
  return Divergence(hidden);
}

double TieProbe::Divergence(const std::vector<float>& hidden) const {
  const int64_t rows = runner_.rows();
  std::vector<float> logits(log_probs_.size());
  engine_.Head(hidden.data(), rows, logits.data());
  std::vector<double> losses(static_cast<size_t>(rows));
  pool_.ParallelFor(rows, [&](int64_t r) {
    float* row = logits.data() + r * vocab_;
    LogSoftmax({row, static_cast<size_t>(vocab_)}, vocab_);
    losses[static_cast<size_t>(r)] = RowDivergence(log_probs_.data() + r * vocab_, row, vocab_);
  });
  double sum = 0;
  for (const double loss : losses) sum += loss;
  return sum / static_cast<double>(rows);
}

}  // namespace rondo
