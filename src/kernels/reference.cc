#include "kernels/reference.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

namespace rondo::reference {
namespace {

std::vector<double> Normalised(std::span<const float> x, double mean, float eps) {
  double squares = 0;
  for (const double v : x) squares += (v - mean) * (v - mean);
  std::vector<double> y;
  for (const double v : x) {
    y.push_back((v - mean) / std::sqrt(squares / static_cast<double>(x.size()) + eps));
  }
  return y;
}

double Dot(const float* a, const float* b, int64_t count) {
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += double{a[i]} * b[i];
  return sum;
}

}  // namespace

std::vector<double> MatMul(std::span<const float> w, std::span<const float> x, int64_t rows,
                           int64_t in, int64_t out) {
  std::vector<double> y;
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t o = 0; o < out; ++o) y.push_back(Dot(x.data() + r * in, w.data() + o * in, in));
  }
  return y;
}

std::vector<double> RmsNorm(std::span<const float> x, std::span<const float> gain, float eps) {
  std::vector<double> y = Normalised(x, 0, eps);
  for (size_t i = 0; i < y.size(); ++i) y[i] *= gain[i];
  return y;
}

std::vector<double> LayerNorm(std::span<const float> x, std::span<const float> gain,
                              std::span<const float> bias, float eps) {
  double mean = 0;
  for (const double v : x) mean += v / static_cast<double>(x.size());
  std::vector<double> y = Normalised(x, mean, eps);
  for (size_t i = 0; i < y.size(); ++i) y[i] = y[i] * gain[i] + bias[i];
  return y;
}

double Activate(Activation kind, double x) {
  using std::numbers::pi, std::numbers::sqrt2;
  switch (kind) {
    case Activation::kSilu:
      return x / (1 + std::exp(-x));
    case Activation::kGelu:
      return 0.5 * x * (1 + std::erf(x / sqrt2));
    case Activation::kGeluTanh:
      return 0.5 * x * (1 + std::tanh(std::sqrt(2 / pi) * (x + 0.044715 * x * x * x)));
    case Activation::kRelu:
      return std::max(x, 0.0);
  }
  return x;
}

double LogSumExp(std::span<const float> x) {
  long double top = -std::numeric_limits<long double>::infinity(), sum = 0;
  for (const float value : x) top = std::max<long double>(top, value);
  if (std::isinf(top)) return static_cast<double>(top);
  for (const float value : x) sum += std::exp(value - top);
  return static_cast<double>(top + std::log(sum));
}

std::vector<double> DepthwiseConv(std::span<const float> weight, std::span<const float> bias,
                                  std::span<const float> history, std::span<const float> x) {
  std::vector<float> seen(history.begin(), history.end());
  seen.insert(seen.end(), x.begin(), x.end());
  std::vector<double> y;
  for (size_t i = 0; i < x.size(); ++i) {
    double sum = bias[i % bias.size()];
    for (size_t k = 0; k < weight.size() / bias.size(); ++k) {
      sum += double{weight[k * bias.size() + i % bias.size()]} * seen[i + k * bias.size()];
    }
    y.push_back(sum);
  }
  return y;
}

std::vector<double> Attention(const AttentionShape& shape, int position, std::span<const float> q,
                              std::span<const float> keys, std::span<const float> values,
                              int prefix) {
  const int64_t dim = shape.head_dim, width = shape.kv_heads * dim;
  const int first = shape.window > 0 ? std::max(0, position - shape.window + 1) : 0;
  std::vector<double> out(static_cast<size_t>(shape.heads * dim));
  for (int h = 0; h < shape.heads; ++h) {
    const int64_t kv = h / (shape.heads / shape.kv_heads);
    double* head = out.data() + h * dim;
    double total = 0;
    for (int t = 0; t <= prefix + position; ++t) {
      if (t >= prefix && t < prefix + first) continue;
      double score = shape.scale * Dot(q.data() + h * dim, keys.data() + t * width + kv * dim, dim);
      if (shape.softcap > 0) score = shape.softcap * std::tanh(score / shape.softcap);
      const double weight = std::exp(score);
      total += weight;
      for (int64_t i = 0; i < dim; ++i) head[i] += weight * values[t * width + kv * dim + i];
    }
    for (int64_t i = 0; i < dim; ++i) head[i] /= total;
  }
  return out;
}

}  // namespace rondo::reference
