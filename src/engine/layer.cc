#include "engine/layer.h"

#include <vector>

#include "engine/rows.h"
#include "kernels/rope.h"
#include "kernels/row_ops.h"

namespace rondo {
namespace {

std::vector<int> PositionsOf(std::span<const LayerSpan> spans) {
  std::vector<int> positions;
  for (const LayerSpan& span : spans) {
    for (int i = 0; i < span.count; ++i) positions.push_back(span.first_position + i);
  }
  return positions;
}

void CallTap(const LayerContext& c, TapPoint point, const float* x, int64_t rows, int64_t width) {
  if (c.tap) c.tap(c.depth, point, x, rows, width);
}

void Linear(const LayerContext& c, Module m, const float* x, int64_t rows, float* y) {
  RunLinear(c.layer.linear(m), x, rows, y, c.space.residual, c.pool);
}

// Norms and turns queries and keys, and stores keys and values.
void FinishQkv(const LayerContext& c, std::span<const LayerSpan> spans, float* q, float* k,
               const float* v) {
  const ModelConfig& config = c.config;
  const std::vector<int> positions = PositionsOf(spans);
  const auto rows = static_cast<int64_t>(positions.size());
  const int64_t q_width = int64_t{config.heads} * config.head_dim;
  const int64_t kv_width = int64_t{config.kv_heads} * config.head_dim;
  if (config.qk_norm) {
    RunNorm(config, c.layer.norm(Module::kQNorm), q, rows * config.heads, config.head_dim, q,
            c.pool);
    RunNorm(config, c.layer.norm(Module::kKNorm), k, rows * config.kv_heads, config.head_dim, k,
            c.pool);
  }
  const std::vector<float> angles = RopeAngles(positions, c.rope_frequencies);
  std::vector<const LayerSpan*> owners;
  for (const LayerSpan& span : spans) {
    owners.insert(owners.end(), static_cast<size_t>(span.count), &span);
  }
  ForRows(c.pool, rows, q_width + 2 * kv_width, [&](int64_t r) {
    const auto row = static_cast<size_t>(r);
    if (!angles.empty()) {
      const float* turn = angles.data() + row * 2 * c.rope_frequencies.size();
      ApplyRope(q + r * q_width, config.heads, config.head_dim, config.rotary_dim, turn);
      ApplyRope(k + r * kv_width, config.kv_heads, config.head_dim, config.rotary_dim, turn);
    }
    owners[row]->kv->Store(positions[row], k + r * kv_width, v + r * kv_width);
  });
}

// out[rows, d_model] = o(attention(q, k, v of x)).
void AttentionBranch(const LayerContext& c, std::span<const LayerSpan> spans, const float* x,
                     int64_t rows, float* out) {
  const ModelConfig& config = c.config;
  const int64_t q_width = int64_t{config.heads} * config.head_dim;
  const int64_t kv_width = int64_t{config.kv_heads} * config.head_dim;
  float* q = c.space.q.Get(rows * q_width);
  float* k = c.space.k.Get(rows * kv_width);
  float* v = c.space.v.Get(rows * kv_width);
  CallTap(c, TapPoint::kAttnInput, x, rows, config.d_model);
  Linear(c, Module::kQ, x, rows, q);
  Linear(c, Module::kK, x, rows, k);
  Linear(c, Module::kV, x, rows, v);
  FinishQkv(c, spans, q, k, v);

  float* attended = c.space.attended.Get(rows * q_width);
  std::vector<AttentionSpan> jobs;
  int64_t row = 0;
  for (const LayerSpan& span : spans) {
    jobs.push_back({.kv = span.kv,
                    .first_position = span.first_position,
                    .count = span.count,
                    .q = q + row * q_width,
                    .out = attended + row * q_width});
    row += span.count;
  }
  Attention(ShapeOfAttention(config, config.IsLocal(c.depth)), jobs, c.pool);
  CallTap(c, TapPoint::kOInput, attended, rows, q_width);
  Linear(c, Module::kO, attended, rows, out);
}

// out[rows, d_model] = down(act(gate x) ⊙ up x), or down(act(up x)).
void FfnBranch(const LayerContext& c, const float* x, int64_t rows, float* out) {
  const ModelConfig& config = c.config;
  const int64_t width = config.d_ff;
  float* up = c.space.up.Get(rows * width);
  CallTap(c, TapPoint::kFfnInput, x, rows, config.d_model);
  Linear(c, Module::kUp, x, rows, up);
  float* inner = up;
  if (config.gated_ffn) {
    inner = c.space.gate.Get(rows * width);
    Linear(c, Module::kGate, x, rows, inner);
    ForRows(c.pool, rows, width, [&](int64_t r) {
      ActivateGated(config.activation, inner + r * width, up + r * width, width);
    });
  } else {
    ForRows(c.pool, rows, width,
            [&](int64_t r) { Activate(config.activation, inner + r * width, width); });
  }
  CallTap(c, TapPoint::kDownInput, inner, rows, width);
  Linear(c, Module::kDown, inner, rows, out);
}

void AddRows(const LayerContext& c, float* hidden, const float* branch, int64_t rows) {
  const int64_t d = c.config.d_model;
  ForRows(c.pool, rows, d, [&](int64_t r) { AddTo(hidden + r * d, branch + r * d, d); });
}

}  // namespace

AttentionShape ShapeOfAttention(const ModelConfig& config, bool local) {
  return {.heads = config.heads,
          .kv_heads = config.kv_heads,
          .head_dim = config.head_dim,
          .scale = config.attn_scale,
          .softcap = config.attn_softcap,
          .window = local ? config.sliding_window : 0};
}

void RunLinear(const LinearUse& linear, const float* x, int64_t rows, float* y,
               ScratchBuffer& scratch, ThreadPool& pool) {
  const Residual* residual = linear.residual;
  const float* input = residual ? residual->Input(x, rows, scratch, pool) : x;
  MatMul(*linear.weight, input, rows, y, /*accumulate=*/false, pool);
  if (residual != nullptr) residual->Apply(x, rows, y, scratch, pool);
  if (linear.bias == nullptr) return;
  const int64_t out = linear.weight->out();
  ForRows(pool, rows, out, [&](int64_t r) { AddTo(y + r * out, linear.bias, out); });
}

void RunNorm(const ModelConfig& config, const NormUse& norm, const float* x, int64_t rows,
             int64_t width, float* y, ThreadPool& pool) {
  ForRows(pool, rows, width, [&](int64_t r) {
    const float* in = x + r * width;
    float* out = y + r * width;
    if (config.norm == NormKind::kRms) {
      RmsNorm(in, width, norm.gain, config.norm_eps, out);
    } else {
      LayerNorm(in, width, norm.gain, norm.bias, config.norm_eps, out);
    }
  });
}

void RunLayer(const LayerContext& c, std::span<const LayerSpan> spans, float* hidden) {
  const ModelConfig& config = c.config;
  const int64_t d = config.d_model;
  int64_t rows = 0;
  for (const LayerSpan& span : spans) rows += span.count;
  float* normed = c.space.normed.Get(rows * d);
  float* branch = c.space.branch.Get(rows * d);
  const auto norm = [&](Module m, const float* x, float* y) {
    RunNorm(config, c.layer.norm(m), x, rows, d, y, c.pool);
  };

  norm(Module::kAttnNorm, hidden, normed);
  AttentionBranch(c, spans, normed, rows, branch);
  if (config.post_norms) norm(Module::kPostAttnNorm, branch, branch);
  // In a parallel layer both branches read the layer's input.
  if (config.parallel_residual) norm(Module::kFfnNorm, hidden, normed);
  AddRows(c, hidden, branch, rows);
  if (!config.parallel_residual) norm(Module::kFfnNorm, hidden, normed);
  FfnBranch(c, normed, rows, branch);
  if (config.post_norms) norm(Module::kPostFfnNorm, branch, branch);
  AddRows(c, hidden, branch, rows);
}

}  // namespace rondo
