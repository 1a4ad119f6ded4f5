// Defines the reference pass; its own test pins it to a case computed by hand.
#include "engine/reference_forward.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "engine/random_model.h"

namespace rondo {
namespace {

using Vec = std::vector<double>;

Vec Get(const Model& model, const std::string& name) {
  const std::vector<float> values = ToF32(model.weights.Get(name));
  return {values.begin(), values.end()};
}

Vec Residual(const Model& model, int depth, Module m, const char* part) {
  return Get(model, ResidualTensor(depth, m, part));
}

// matrix += B A.
void AddLora(const Model& model, Module m, int depth, int rank, int64_t out, int64_t in, Vec* w) {
  if (rank == 0) return;
  const Vec a = Residual(model, depth, m, "a"), b = Residual(model, depth, m, "b");
  for (int64_t o = 0; o < out; ++o) {
    for (int64_t i = 0; i < in; ++i) {
      for (int r = 0; r < rank; ++r) (*w)[o * in + i] += b[o * rank + r] * a[r * in + i];
    }
  }
}

void AddKronecker(const Model& model, Module m, int depth, int rank, int64_t out, int64_t in,
                  Vec* w) {
  const auto [out_a, in_a] = KroneckerFactor(out, in);
  const int64_t out_b = out / out_a, in_b = in / in_a;
  const Vec a = Residual(model, depth, m, "a"), b = Residual(model, depth, m, "b");
  for (int r = 0; r < rank; ++r) {
    for (int64_t o = 0; o < out; ++o) {
      for (int64_t i = 0; i < in; ++i) {
        (*w)[o * in + i] += a[(r * out_a + o / out_b) * in_a + i / in_b] *
                            b[(r * out_b + o % out_b) * in_b + i % in_b];
      }
    }
  }
}

Vec BiasOf(const Model& model, Module m, int depth, size_t size) {
  const ModulePlan& plan = model.plan[m];
  if (!model.config.HasBias(m) || plan.blocks[depth] == kAbsorbed) return Vec(size, 0.0);
  return plan.own_bias ? Residual(model, depth, m, "bias")
                       : Get(model, BlockTensor(plan.blocks[depth], m, "bias"));
}

Vec Linear(const Model& model, Module m, int depth, const Vec& x) {
  const Vec w = MergedMatrix(model, m, depth);
  const size_t in = x.size(), out = w.size() / in;
  Vec y = BiasOf(model, m, depth, out);
  for (size_t o = 0; o < out; ++o) {
    for (size_t i = 0; i < in; ++i) y[o] += w[o * in + i] * x[i];
  }
  return y;
}

Vec Normalise(const ModelConfig& config, const Vec& x, const Vec& gain, const Vec& bias) {
  double mean = 0, squares = 0;
  if (config.norm == NormKind::kLayer) {
    for (const double v : x) mean += v / static_cast<double>(x.size());
  }
  for (const double v : x) squares += (v - mean) * (v - mean) / static_cast<double>(x.size());
  Vec y(x.size());
  for (size_t i = 0; i < x.size(); ++i) {
    y[i] = (x[i] - mean) / std::sqrt(squares + config.norm_eps) * gain[i] + bias[i];
  }
  return y;
}

Vec Norm(const Model& model, Module m, int depth, const Vec& x) {
  const int block = model.plan[m].blocks[depth];
  const Vec gain = block == kAbsorbed ? Vec(x.size(), 1.0) : Get(model, BlockTensor(block, m));
  return Normalise(model.config, x, gain, BiasOf(model, m, depth, x.size()));
}

double Act(Activation kind, double x) {
  switch (kind) {
    case Activation::kSilu:
      return x / (1 + std::exp(-x));
    case Activation::kGelu:
      return 0.5 * x * (1 + std::erf(x / std::numbers::sqrt2));
    case Activation::kGeluTanh:
      return 0.5 * x *
             (1 + std::tanh(std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x)));
    case Activation::kRelu:
      return std::max(x, 0.0);
  }
  return x;
}

Vec Ffn(const Model& model, int depth, const Vec& x) {
  Vec inner = Linear(model, Module::kUp, depth, x);
  if (model.config.gated_ffn) {
    const Vec gate = Linear(model, Module::kGate, depth, x);
    for (size_t i = 0; i < inner.size(); ++i) inner[i] *= Act(model.config.activation, gate[i]);
  } else {
    for (double& v : inner) v = Act(model.config.activation, v);
  }
  return Linear(model, Module::kDown, depth, inner);
}

double Frequency(const ModelConfig& config, int depth, int i) {
  const bool own = config.IsLocal(depth) && config.rope_local_theta > 0;
  const double theta = own ? config.rope_local_theta : config.rope_theta;
  const double plain = std::pow(theta, -2.0 * i / config.rotary_dim);
  if (own || config.rope_scaling.kind == RopeScalingKind::kNone) return plain;
  const RopeScaling& s = config.rope_scaling;
  if (s.kind == RopeScalingKind::kLinear) return plain / s.factor;
  const double wavelength = 2 * std::numbers::pi / plain;
  if (wavelength > s.original_max_positions / s.low_freq_factor) return plain / s.factor;
  if (wavelength < s.original_max_positions / s.high_freq_factor) return plain;
  const double smooth = (s.original_max_positions / wavelength - s.low_freq_factor) /
                        (s.high_freq_factor - s.low_freq_factor);
  return (1 - smooth) * plain / s.factor + smooth * plain;
}

// Norm and rotation of each head of a query or key.
void FinishHeads(const Model& model, Module norm, int depth, int position, Vec* x) {
  const ModelConfig& config = model.config;
  const int dim = config.head_dim, half = config.rotary_dim / 2;
  for (size_t h = 0; h < x->size(); h += dim) {
    Vec head(x->begin() + h, x->begin() + h + dim);
    if (config.qk_norm) head = Norm(model, norm, depth, head);
    for (int i = 0; config.positions == PositionKind::kRope && i < half; ++i) {
      const double angle = position * Frequency(config, depth, i);
      const double a = head[i], b = head[i + half];
      head[i] = a * std::cos(angle) - b * std::sin(angle);
      head[i + half] = b * std::cos(angle) + a * std::sin(angle);
    }
    std::copy(head.begin(), head.end(), x->begin() + h);
  }
}

// Attention of the query at `position` for one head; the first `prefix` keys are no positions and
// seen by all.
Vec Attend(const ModelConfig& config, int depth, int position, int head, const Vec& q, int prefix,
           const std::vector<Vec>& keys, const std::vector<Vec>& values) {
  const int dim = config.head_dim, kv = head / (config.heads / config.kv_heads);
  const int first = config.IsLocal(depth) ? std::max(0, position - config.sliding_window + 1) : 0;
  Vec weights(keys.size()), out(dim);
  double sum = 0;
  for (int t = 0; t <= prefix + position; ++t) {
    if (t >= prefix && t < prefix + first) continue;
    double score = 0;
    for (int i = 0; i < dim; ++i) score += q[head * dim + i] * keys[t][kv * dim + i];
    score *= config.attn_scale;
    if (config.attn_softcap > 0) {
      score = config.attn_softcap * std::tanh(score / config.attn_softcap);
    }
    weights[t] = std::exp(score);
    sum += weights[t];
  }
  for (int t = 0; t <= prefix + position; ++t) {
    for (int i = 0; i < dim; ++i) out[i] += weights[t] / sum * values[t][kv * dim + i];
  }
  return out;
}

Vec Sum(Vec a, const Vec& b) {
  for (size_t i = 0; i < a.size(); ++i) a[i] += b[i];
  return a;
}

std::vector<Vec> PrefixRows(const Model& model, int depth, const char* part) {
  if (model.plan.prefix == 0) return {};
  const Vec all = Get(model, PrefixTensor(depth, part));
  const size_t width = all.size() / model.plan.prefix;
  std::vector<Vec> rows;
  for (size_t at = 0; at < all.size(); at += width) {
    rows.emplace_back(all.begin() + at, all.begin() + at + width);
  }
  return rows;
}

std::vector<Vec> AttentionBranch(const Model& model, int depth, const std::vector<Vec>& hidden) {
  const ModelConfig& config = model.config;
  std::vector<Vec> queries, outs;
  std::vector<Vec> keys = PrefixRows(model, depth, "k"), values = PrefixRows(model, depth, "v");
  for (size_t t = 0; t < hidden.size(); ++t) {
    const Vec x = Norm(model, Module::kAttnNorm, depth, hidden[t]);
    queries.push_back(Linear(model, Module::kQ, depth, x));
    keys.push_back(Linear(model, Module::kK, depth, x));
    values.push_back(Linear(model, Module::kV, depth, x));
    FinishHeads(model, Module::kQNorm, depth, static_cast<int>(t), &queries.back());
    FinishHeads(model, Module::kKNorm, depth, static_cast<int>(t), &keys.back());
  }
  for (size_t t = 0; t < hidden.size(); ++t) {
    Vec all;
    for (int h = 0; h < config.heads; ++h) {
      const Vec one = Attend(config, depth, static_cast<int>(t), h, queries[t], model.plan.prefix,
                             keys, values);
      all.insert(all.end(), one.begin(), one.end());
    }
    Vec out = Linear(model, Module::kO, depth, all);
    if (config.post_norms) out = Norm(model, Module::kPostAttnNorm, depth, out);
    outs.push_back(out);
  }
  return outs;
}

}  // namespace

std::vector<double> MergedMatrix(const Model& model, Module m, int depth) {
  const ModulePlan& plan = model.plan[m];
  const Shape shape = model.config.ModuleShape(m);
  const int64_t out = shape[0], in = shape[1];
  Vec w = Get(model, BlockTensor(plan.blocks[depth], m));
  if (!model.plan.HasResidual(m, depth)) return w;
  const int rank = plan.ranks.empty() ? 0 : plan.ranks[depth];
  if (plan.residual == ResidualKind::kMulDiag) {
    const Vec scale = Residual(model, depth, m, "scale");
    for (int64_t i = 0; i < out * in; ++i) w[i] *= scale[i % in];
    return w;
  }
  if (plan.residual == ResidualKind::kKronecker) {
    AddKronecker(model, m, depth, rank, out, in, &w);
    return w;
  }
  AddLora(model, m, depth, rank, out, in, &w);
  if (plan.residual == ResidualKind::kLoraDiag) {
    const Vec diag = Residual(model, depth, m, "diag");
    for (size_t i = 0; i < diag.size(); ++i) w[i * in + i] += diag[i];
  }
  if (plan.residual == ResidualKind::kDora) {
    const Vec magnitude = Residual(model, depth, m, "magnitude");
    for (int64_t o = 0; o < out; ++o) {
      double squares = 0;
      for (int64_t i = 0; i < in; ++i) squares += w[o * in + i] * w[o * in + i];
      for (int64_t i = 0; i < in; ++i) w[o * in + i] *= magnitude[o] / std::sqrt(squares);
    }
  }
  return w;
}

std::vector<double> ReferenceLogits(const Model& model, std::span<const int32_t> tokens) {
  const ModelConfig& config = model.config;
  const Vec embed = Get(model, "embed.weight");
  const size_t d = config.d_model;
  std::vector<Vec> hidden;
  for (size_t t = 0; t < tokens.size(); ++t) {
    Vec row(embed.begin() + tokens[t] * d, embed.begin() + (tokens[t] + 1) * d);
    for (double& v : row) v *= config.embed_scale;
    if (config.positions == PositionKind::kLearned) {
      const Vec positions = Get(model, "positions.weight");
      row = Sum(row, Vec(positions.begin() + t * d, positions.begin() + (t + 1) * d));
    }
    hidden.push_back(row);
  }
  for (int depth = 0; depth < config.layers; ++depth) {
    const std::vector<Vec> attended = AttentionBranch(model, depth, hidden);
    for (size_t t = 0; t < hidden.size(); ++t) {
      const Vec after = Sum(hidden[t], attended[t]);
      const Vec& read = config.parallel_residual ? hidden[t] : after;
      Vec out = Ffn(model, depth, Norm(model, Module::kFfnNorm, depth, read));
      if (config.post_norms) out = Norm(model, Module::kPostFfnNorm, depth, out);
      hidden[t] = Sum(after, out);
    }
  }
  const Vec head = config.tied_embeddings ? embed : Get(model, "head.weight");
  const Vec head_bias = config.head_bias ? Get(model, "head.bias") : Vec(config.vocab, 0.0);
  const Vec gain = Get(model, "final_norm.weight");
  const Vec bias = config.norm == NormKind::kLayer ? Get(model, "final_norm.bias") : Vec(d, 0.0);
  Vec logits;
  for (const Vec& row : hidden) {
    const Vec x = Normalise(config, row, gain, bias);
    for (int o = 0; o < config.vocab; ++o) {
      double sum = head_bias[o];
      for (size_t i = 0; i < d; ++i) sum += head[o * d + i] * x[i];
      const double cap = config.logit_softcap;
      logits.push_back(cap > 0 ? cap * std::tanh(sum / cap) : sum);
    }
  }
  return logits;
}

namespace {

// One token sees only itself, so attention returns its value: with identity-like weights the whole
// pass can be followed on paper.
TEST(ReferenceForward, OneTokenByHand) {
  ModelConfig config;
  config.layers = config.heads = config.kv_heads = 1;
  config.d_model = config.d_ff = config.head_dim = config.rotary_dim = 2;
  config.vocab = 2;
  config.max_positions = 4;
  config.attn_scale = 1;
  config.norm_eps = 0;
  config.activation = Activation::kRelu;
  config.gated_ffn = false;
  const auto set = [](Model& model, const std::string& name, Shape shape, std::vector<float> v) {
    model.weights.Set(name, Tensor::FromF32(std::move(shape), std::move(v)));
  };
  Model model{.config = config, .plan = IdentityPlan(config), .weights = {}, .path = {}};
  set(model, "embed.weight", {2, 2}, {3, 4, 1, 0});
  for (const char* name : {"q", "k", "v", "o", "up", "down"}) {
    set(model, std::string("blocks.0.") + name + ".weight", {2, 2}, {1, 0, 0, -1});
  }
  for (const char* name : {"blocks.0.attn_norm.weight", "blocks.0.ffn_norm.weight"}) {
    set(model, name, {2}, {1, 1});
  }
  set(model, "final_norm.weight", {2}, {1, 2});
  set(model, "head.weight", {2, 2}, {1, 0, 0, 1});
  // x = (3, 4); rms = √12.5; v = (3, -4)/rms; o flips again: x1 = (3, 4)(1 + 1/√12.5).
  // The norm of x1 is again (3, 4)/√12.5 = n; up: (n0, -n1) -> relu (n0, 0) -> down (n0, 0).
  const double root = std::sqrt(12.5);
  const double x0 = 3 * (1 + 1 / root) + 3 / root, x1 = 4 * (1 + 1 / root);
  const double rms = std::sqrt((x0 * x0 + x1 * x1) / 2);
  const std::vector<int32_t> tokens = {0};
  const std::vector<double> logits = ReferenceLogits(model, tokens);
  EXPECT_NEAR(logits[0], x0 / rms, 1e-12);
  EXPECT_NEAR(logits[1], 2 * x1 / rms, 1e-12);
}

}  // namespace
}  // namespace rondo
