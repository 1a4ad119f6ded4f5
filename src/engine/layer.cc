#include "engine/layer.h"

#include <algorithm>
#include <initializer_list>
#include <vector>

#include "engine/rows.h"
#include "kernels/depthwise_conv.h"
#include "kernels/row_ops.h"

namespace rondo {
namespace {

// Neighbouring rows of the same depth.
struct Segment {
  const LayerUse* layer;
  int depth;
  int64_t first;
  int64_t rows;
};

// The rows of a pass, seen as spans of positions and as segments of depths.
struct Batch {
  std::span<const LayerSpan> spans;
  std::vector<Segment> segments;
  std::vector<int> positions;  // [rows] in the pages
  std::vector<int> turns;      // [rows] in the sequence, for rotary embedding
  std::vector<int> lengths;    // [rows] of the text, as far as they are known
  int64_t rows = 0;

  explicit Batch(std::span<const LayerSpan> all) : spans(all) {
    for (const LayerSpan& span : all) {
      if (segments.empty() || segments.back().depth != span.depth) {
        segments.push_back({span.layer, span.depth, rows, 0});
      }
      segments.back().rows += span.count;
      rows += span.count;
      for (int i = 0; i < span.count; ++i) {
        positions.push_back(span.first_position + i);
        turns.push_back(span.first_stored + span.first_position + i);
        lengths.push_back(std::max(span.text_length, turns.back() + 1));
      }
    }
  }
};

void CallTap(const LayerContext& c, const Batch& batch, TapPoint point, const float* x,
             int64_t width) {
  if (!c.tap) return;
  for (const Segment& s : batch.segments) {
    c.tap(s.depth, point, x + s.first * width, s.rows, width);
  }
}

void Norm(const LayerContext& c, const Batch& batch, Module m, const float* x, int64_t heads,
          int64_t width, float* y) {
  for (const Segment& s : batch.segments) {
    const int64_t at = s.first * heads * width;
    RunNorm(c.config, s.layer->norm(m), x + at, s.rows * heads, width, y + at, c.pool);
  }
}

struct Target {
  Module module;
  float* y;
};

void AddBias(const LinearUse& linear, int64_t rows, float* y, ThreadPool& pool) {
  if (linear.bias == nullptr) return;
  const int64_t out = linear.weight->out();
  ForRows(pool, rows, out, [&](int64_t r) { AddTo(y + r * out, linear.bias, out); });
}

bool AnyScalesInput(const Batch& batch, Module m) {
  return std::ranges::any_of(batch.segments, [&](const Segment& s) {
    const Residual* residual = s.layer->linear(m).residual;
    return residual != nullptr && residual->scales_input();
  });
}

// x as the shared product of `m` reads it: itself, or a copy that residuals have scaled.
const float* ScaledInput(const LayerContext& c, const Batch& batch, Module m, const float* x,
                         int64_t in, float* copy) {
  for (const Segment& s : batch.segments) {
    const Residual* residual = s.layer->linear(m).residual;
    const int64_t at = s.first * in;
    if (residual != nullptr && residual->scales_input()) {
      residual->ScaleInput(x + at, s.rows, copy + at, c.pool);
    } else {
      std::copy_n(x + at, s.rows * in, copy + at);
    }
  }
  return copy;
}

void ApplyGain(const LinearUse& linear, int64_t rows, float* y, ThreadPool& pool) {
  if (linear.gain.empty()) return;
  const int64_t out = linear.weight->out();
  ForRows(pool, rows, out, [&](int64_t r) {
    float* row = y + r * out;
    if (linear.gain.size() == 1) return Scale(row, linear.gain[0], out);
    for (int64_t i = 0; i < out; ++i) row[i] *= linear.gain[static_cast<size_t>(i)];
  });
}

// Linears that read the same x [rows, in]: one job for all shared products and the first factors of
// all blocks and residuals of low rank, one for the second factors of such blocks, and one for
// those of residuals.
void Linears(const LayerContext& c, const Batch& batch, const float* x, int64_t in,
             std::initializer_list<Target> targets) {
  int64_t low_size = 0;
  for (const Target& target : targets) {
    const LinearUse& block = batch.segments.front().layer->linear(target.module);
    if (block.first != nullptr) low_size += batch.rows * block.first->out();
    for (const Segment& s : batch.segments) {
      const Residual* residual = s.layer->linear(target.module).residual;
      if (residual != nullptr && residual->a() != nullptr) low_size += s.rows * residual->rank();
    }
  }
  float* low = c.space.low.Get(low_size);
  float* copies = nullptr;
  size_t inputs = 0;
  MatMulInput& plain = c.space.Input(inputs++);
  plain.Set(x, batch.rows, in);
  std::vector<Product>& products = c.space.products;
  products.clear();
  int64_t at = 0, copied = 0;
  for (const auto& [module, y] : targets) {
    const LinearUse& block = batch.segments.front().layer->linear(module);
    const MatMulInput* input = &plain;
    if (AnyScalesInput(batch, module)) {
      const int64_t size = batch.rows * in;
      if (copies == nullptr)
        copies = c.space.scaled.Get(static_cast<int64_t>(targets.size()) * size);
      MatMulInput& scaled = c.space.Input(inputs++);
      scaled.Set(ScaledInput(c, batch, module, x, in, copies + copied), batch.rows, in);
      copied += size;
      input = &scaled;
    }
    if (block.first != nullptr) {
      const int64_t rank = block.first->out();
      products.push_back({block.first, input, 0, batch.rows, low + at, rank, false});
      at += batch.rows * rank;
    } else {
      products.push_back({block.weight, input, 0, batch.rows, y, block.weight->out(), false});
    }
    for (const Segment& s : batch.segments) {
      const Residual* residual = s.layer->linear(module).residual;
      if (residual == nullptr || residual->a() == nullptr) continue;
      const int64_t rank = residual->rank();
      products.push_back({residual->a(), &plain, s.first, s.rows, low + at, rank, false});
      at += s.rows * rank;
    }
  }
  MatMul(products, c.pool);

  products.clear();
  std::vector<Product>& second = c.space.second_products;
  second.clear();
  at = 0;
  for (const auto& [module, y] : targets) {
    const LinearUse& block = batch.segments.front().layer->linear(module);
    if (block.first != nullptr) {
      const int64_t rank = block.first->out();
      MatMulInput& middle = c.space.Input(inputs++);
      middle.Set(low + at, batch.rows, rank);
      at += batch.rows * rank;
      second.push_back({block.weight, &middle, 0, batch.rows, y, block.weight->out(), false});
    }
    for (const Segment& s : batch.segments) {
      const Residual* residual = s.layer->linear(module).residual;
      if (residual == nullptr || residual->b() == nullptr) continue;
      MatMulInput& middle = c.space.Input(inputs++);
      middle.Set(low + at, s.rows, residual->rank());
      at += s.rows * residual->rank();
      const int64_t out = residual->b()->out();
      products.push_back({residual->b(), &middle, 0, s.rows, y + s.first * out, out, true});
    }
  }
  if (!second.empty()) MatMul(second, c.pool);
  if (!products.empty()) MatMul(products, c.pool);

  for (const auto& [module, y] : targets) {
    for (const Segment& s : batch.segments) {
      const LinearUse& linear = s.layer->linear(module);
      float* rows = y + s.first * linear.weight->out();
      if (linear.residual != nullptr) {
        linear.residual->Finish(x + s.first * in, s.rows, rows, c.space.residual, c.pool);
      }
      AddBias(linear, s.rows, rows, c.pool);
      ApplyGain(linear, s.rows, rows, c.pool);
    }
  }
}

struct Qkv {
  float* q;
  float* k;
  float* v;
};

// Norms and turns queries (unless null) and keys, and stores keys and values.
void FinishQkv(const LayerContext& c, const Batch& batch, const Qkv& qkv) {
  const ModelConfig& config = c.config;
  const int64_t q_width = int64_t{config.heads} * config.head_dim;
  const int64_t kv_width = int64_t{config.kv_heads} * config.head_dim;
  if (config.qk_norm) {
    if (qkv.q) Norm(c, batch, Module::kQNorm, qkv.q, config.heads, config.head_dim, qkv.q);
    Norm(c, batch, Module::kKNorm, qkv.k, config.kv_heads, config.head_dim, qkv.k);
  }
  const auto angles = c.space.angles.Get(batch.turns, batch.lengths, c.rope);
  const auto local_angles = c.space.local_angles.Get(batch.turns, batch.lengths, c.local_rope);
  std::vector<const LayerSpan*> owners;
  for (const LayerSpan& span : batch.spans) {
    owners.insert(owners.end(), static_cast<size_t>(span.count), &span);
  }
  const size_t turn_size = 2 * c.rope.frequencies();
  ForRows(c.pool, batch.rows, q_width + 2 * kv_width, [&](int64_t r) {
    const auto row = static_cast<size_t>(r);
    const LayerSpan& owner = *owners[row];
    if (turn_size > 0) {
      const auto& table = config.IsLocal(owner.depth) ? local_angles : angles;
      const float* turn = table.data() + row * turn_size;
      const int dim = config.head_dim;
      if (qkv.q) ApplyRope(qkv.q + r * q_width, config.heads, dim, config.rotary_dim, turn);
      ApplyRope(qkv.k + r * kv_width, config.kv_heads, dim, config.rotary_dim, turn);
    }
    StoreKv(owner.kv, batch.positions[row], qkv.k + r * kv_width, qkv.v + r * kv_width);
  });
}

void Attend(const LayerContext& c, const Batch& batch, const float* q, float* attended) {
  const ModelConfig& config = c.config;
  const int64_t width = int64_t{config.heads} * config.head_dim;
  std::vector<AttentionSpan> spans;
  int64_t row = 0;
  for (const LayerSpan& span : batch.spans) {
    spans.push_back({.shape = ShapeOfAttention(config, config.IsLocal(span.depth)),
                     .kv = span.kv,
                     .first_position = span.first_position,
                     .count = span.count,
                     .q = q + row * width,
                     .out = attended + row * width,
                     .prefix = span.layer->prefix,
                     .keys = span.keys});
    row += span.count;
  }
  Attention(spans, c.pool);
}

// out[rows, d_model] = o(attention(q, k, v of x)).
void AttentionBranch(const LayerContext& c, const Batch& batch, const float* x, float* out) {
  const ModelConfig& config = c.config;
  const int64_t q_width = int64_t{config.heads} * config.head_dim;
  const int64_t kv_width = int64_t{config.kv_heads} * config.head_dim;
  const Qkv qkv = {c.space.q.Get(batch.rows * q_width), c.space.k.Get(batch.rows * kv_width),
                   c.space.v.Get(batch.rows * kv_width)};
  CallTap(c, batch, TapPoint::kAttnInput, x, config.d_model);
  Linears(c, batch, x, config.d_model,
          {{Module::kQ, qkv.q}, {Module::kK, qkv.k}, {Module::kV, qkv.v}});
  FinishQkv(c, batch, qkv);
  float* attended = c.space.attended.Get(batch.rows * q_width);
  Attend(c, batch, qkv.q, attended);
  CallTap(c, batch, TapPoint::kOInput, attended, q_width);
  Linears(c, batch, attended, q_width, {{Module::kO, out}});
}

// out[rows, d_model] = cross_o(attention(cross_q x, the spans' memory)).
void CrossBranch(const LayerContext& c, const Batch& batch, const float* x, float* out) {
  const ModelConfig& config = c.config;
  const int64_t width = int64_t{config.heads} * config.head_dim;
  float* q = c.space.q.Get(batch.rows * width);
  Linears(c, batch, x, config.d_model, {{Module::kCrossQ, q}});
  float* attended = c.space.attended.Get(batch.rows * width);
  std::vector<AttentionSpan> spans;
  int64_t row = 0;
  for (const LayerSpan& span : batch.spans) {
    spans.push_back({.shape = ShapeOfAttention(config, false),
                     .kv = span.memory.kv,
                     .first_position = span.first_position,
                     .count = span.count,
                     .q = q + row * width,
                     .out = attended + row * width,
                     .keys = {0, span.memory.length}});
    if (span.memory.queries) std::copy_n(q + row * width, span.count * width, span.memory.queries);
    row += span.count;
  }
  Attention(spans, c.pool);
  Linears(c, batch, attended, width, {{Module::kCrossO, out}});
}

struct FfnModules {
  Module up, down;
  bool gated;
};

// out[rows, d_model] = down(act(gate x) ⊙ up x), or down(act(up x)).
void FfnBranch(const LayerContext& c, const Batch& batch, const FfnModules& ffn, const float* x,
               float* out) {
  const ModelConfig& config = c.config;
  CallTap(c, batch, TapPoint::kFfnInput, x, config.d_model);
  // Depths that share a block have the same width.
  const int64_t width = batch.segments.front().layer->linear(ffn.up).weight->out();
  float* up = c.space.up.Get(batch.rows * width);
  float* inner = ffn.gated ? c.space.gate.Get(batch.rows * width) : up;
  if (ffn.gated) {
    Linears(c, batch, x, config.d_model, {{Module::kGate, inner}, {ffn.up, up}});
  } else {
    Linears(c, batch, x, config.d_model, {{ffn.up, up}});
  }
  ForRows(c.pool, batch.rows, width, [&](int64_t r) {
    if (ffn.gated) {
      ActivateGated(config.activation, inner + r * width, up + r * width, width);
    } else {
      Activate(config.activation, inner + r * width, width);
    }
  });
  CallTap(c, batch, TapPoint::kDownInput, inner, width);
  Linears(c, batch, inner, width, {{ffn.down, out}});
}

// out[rows, d_model] = conv_out(silu(norm(depthwise(a ⊙ sigmoid(b))))) with a | b = conv_in x. The
// convolution sees a position and those before it, so that it can run on a stream.
void ConvBranch(const LayerContext& c, const Batch& batch, const float* x, float* out) {
  const int64_t d = c.config.d_model;
  float* inner = c.space.up.Get(batch.rows * 2 * d);
  float* gated = c.space.gate.Get(batch.rows * d);
  float* mixed = c.space.attended.Get(batch.rows * d);
  Linears(c, batch, x, d, {{Module::kConvIn, inner}});
  ForRows(c.pool, batch.rows, 2 * d, [&](int64_t r) {
    const float* row = inner + r * 2 * d;
    GateSigmoid(row, row + d, d, gated + r * d);
  });
  int64_t row = 0;
  for (const LayerSpan& span : batch.spans) {
    const NormUse& depthwise = span.layer->norm(Module::kConvDepth);
    const DepthwiseKernel kernel{depthwise.gain, depthwise.bias, c.config.conv_kernel, d};
    const float* entering = gated + row * d;
    ForRows(c.pool, span.count, kernel.size * d, [&](int64_t r) {
      DepthwiseConv(kernel, span.conv_history, entering, r, r + 1, mixed + row * d);
    });
    KeepHistory(kernel, entering, span.count, span.conv_history);
    row += span.count;
  }
  Norm(c, batch, Module::kConvMidNorm, mixed, 1, d, mixed);
  ForRows(c.pool, batch.rows, d, [&](int64_t r) { Activate(Activation::kSilu, mixed + r * d, d); });
  Linears(c, batch, mixed, d, {{Module::kConvOut, out}});
}

// hidden += share · branch.
void AddRows(const LayerContext& c, float* hidden, float* branch, int64_t rows, float share = 1) {
  const int64_t d = c.config.d_model;
  ForRows(c.pool, rows, d, [&](int64_t r) {
    if (share != 1) Scale(branch + r * d, share, d);
    AddTo(hidden + r * d, branch + r * d, d);
  });
}

bool HasPatch(const Batch& batch) {
  return std::ranges::any_of(batch.segments,
                             [](const Segment& s) { return s.layer->patch != nullptr; });
}

// hidden += P hidden, where a linear patch stands before a depth.
void AddPatches(const LayerContext& c, const Batch& batch, float* hidden) {
  const int64_t d = c.config.d_model;
  for (const Segment& s : batch.segments) {
    if (s.layer->patch == nullptr) continue;
    float* rows = hidden + s.first * d;
    float* added = c.space.normed.Get(s.rows * d);
    MatMul(*s.layer->patch, rows, s.rows, added, /*accumulate=*/false, c.pool);
    ForRows(c.pool, s.rows, d, [&](int64_t r) { AddTo(rows + r * d, added + r * d, d); });
  }
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

KvLayout LayoutOfKv(const ModelConfig& config, KvType type) {
  return {.kv_heads = config.kv_heads, .head_dim = config.head_dim, .type = type};
}

void RunLinear(const LinearUse& linear, const float* x, int64_t rows, float* y, ThreadPool& pool,
               ScratchBuffer* between) {
  if (linear.first != nullptr) {
    float* low = between->Get(rows * linear.first->out());
    MatMul(*linear.first, x, rows, low, /*accumulate=*/false, pool);
    x = low;
  }
  MatMul(*linear.weight, x, rows, y, /*accumulate=*/false, pool);
  AddBias(linear, rows, y, pool);
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
  const bool conformer = config.conv_kernel > 0;
  const float ffn_share = conformer ? 0.5f : 1.0f;
  const Batch batch(spans);
  AddPatches(c, batch, hidden);
  float* normed = c.space.normed.Get(batch.rows * d);
  float* branch = c.space.branch.Get(batch.rows * d);
  const auto norm = [&](Module m, const float* x, float* y) { Norm(c, batch, m, x, 1, d, y); };
  const auto add = [&](float share) { AddRows(c, hidden, branch, batch.rows, share); };

  if (conformer) {
    norm(Module::kPreFfnNorm, hidden, normed);
    FfnBranch(c, batch, {Module::kPreUp, Module::kPreDown, false}, normed, branch);
    add(ffn_share);
  }
  norm(Module::kAttnNorm, hidden, normed);
  AttentionBranch(c, batch, normed, branch);
  if (config.post_norms) norm(Module::kPostAttnNorm, branch, branch);
  // In a parallel layer both branches read the layer's input.
  if (config.parallel_residual) norm(Module::kFfnNorm, hidden, normed);
  add(1);
  if (config.cross_attention) {
    norm(Module::kCrossNorm, hidden, normed);
    CrossBranch(c, batch, normed, branch);
    add(1);
  }
  if (conformer) {
    norm(Module::kConvNorm, hidden, normed);
    ConvBranch(c, batch, normed, branch);
    add(1);
  }
  if (!config.parallel_residual) norm(Module::kFfnNorm, hidden, normed);
  FfnBranch(c, batch, {Module::kUp, Module::kDown, config.gated_ffn}, normed, branch);
  if (config.post_norms) norm(Module::kPostFfnNorm, branch, branch);
  add(ffn_share);
  if (conformer) norm(Module::kOutNorm, hidden, hidden);
}

void FillMemory(const LayerContext& c, const LayerSpan& span, const float* memory) {
  const Batch batch({&span, 1});
  const int64_t width = int64_t{c.config.kv_heads} * c.config.head_dim;
  float *k = c.space.k.Get(batch.rows * width), *v = c.space.v.Get(batch.rows * width);
  Linears(c, batch, memory, c.config.d_model, {{Module::kCrossK, k}, {Module::kCrossV, v}});
  ForRows(c.pool, batch.rows, 2 * width,
          [&](int64_t r) { StoreKv(span.kv, static_cast<int>(r), k + r * width, v + r * width); });
}

void FillKv(const LayerContext& c, std::span<const LayerSpan> spans, const float* hidden) {
  const ModelConfig& config = c.config;
  const Batch batch(spans);
  const int64_t kv_width = int64_t{config.kv_heads} * config.head_dim;
  if (HasPatch(batch)) {
    float* patched = c.space.branch.Get(batch.rows * config.d_model);
    std::copy_n(hidden, batch.rows * config.d_model, patched);
    AddPatches(c, batch, patched);
    hidden = patched;
  }
  float* normed = c.space.normed.Get(batch.rows * config.d_model);
  const Qkv kv = {nullptr, c.space.k.Get(batch.rows * kv_width),
                  c.space.v.Get(batch.rows * kv_width)};
  Norm(c, batch, Module::kAttnNorm, hidden, 1, config.d_model, normed);
  Linears(c, batch, normed, config.d_model, {{Module::kK, kv.k}, {Module::kV, kv.v}});
  FinishQkv(c, batch, kv);
}

}  // namespace rondo
