#include "train/model/forward.h"

#include <numeric>

#include "kernels/rope.h"
#include "rondo/error.h"
#include "train/model/attention.h"
#include "train/model/composed.h"
#include "train/model/matmul.h"

namespace rondo {
namespace {

at::Tensor AngleTable(const ModelConfig& config, bool local, int64_t length, at::Device device) {
  if (config.positions != PositionKind::kRope || config.rotary_dim == 0) return {};
  std::vector<int> positions(static_cast<size_t>(length));
  std::iota(positions.begin(), positions.end(), 0);
  const std::vector<int> lengths(positions.size(), static_cast<int>(length));
  const std::vector<float> angles = Rope(config, local).Angles(positions, lengths);
  return at::tensor(angles, at::kFloat).view({length, config.rotary_dim}).to(device);
}

}  // namespace

RowsShape ShapeOfRows(int64_t rows, int64_t length, std::span<const int32_t> document) {
  RowsShape shape{.rows = rows, .length = length, .visible = {}};
  std::vector<int32_t> ranges;
  int32_t begin = 0;
  bool borders = false;
  for (size_t i = 0; i < document.size(); ++i) {
    const auto position = static_cast<int32_t>(i % static_cast<size_t>(length));
    const bool border = position > 0 && document[i] != document[i - 1];
    if (position == 0 || border) begin = position;
    borders = borders || border;
    ranges.insert(ranges.end(), {begin, position + 1});
  }
  if (borders) shape.visible = at::tensor(ranges, at::kInt).view({rows, length, 2});
  return shape;
}

Forward::Forward(const ModelConfig& config, int64_t max_length, ComputeType compute,
                 at::Device device)
    : config_(config), max_length_(max_length), compute_(compute) {
  if (max_length > config.max_positions) {
    throw Error({.function = "Forward",
                 .problem = "rows of " + std::to_string(max_length) + " tokens",
                 .expected = "at most the model's " + std::to_string(config.max_positions)});
  }
  angles_ = AngleTable(config, false, max_length, device);
  local_angles_ = AngleTable(config, true, max_length, device);
}

at::Tensor Forward::Angles(bool local, int64_t length, at::Device device) const {
  if (config_.rope_scaling.DependsOnLength() && length != max_length_) {
    return AngleTable(config_, local, length, device);
  }
  return local ? local_angles_ : angles_;
}

at::Tensor Forward::Linear(const at::Tensor& x, const at::Tensor& weight,
                           const at::Tensor& bias) const {
  return LinearOp(x, weight, bias, OperandType(compute_));
}

at::Tensor Forward::Norm(const NormTensors& norm, const at::Tensor& x) const {
  if (config_.norm == NormKind::kRms) return RmsNormOp(x, norm.gain, config_.norm_eps);
  return at::layer_norm(x, {x.size(-1)}, norm.gain, norm.bias, config_.norm_eps);
}

at::Tensor Forward::WithHeadNorms(const LayerTensors& layer, const at::Tensor& qkv) const {
  const int64_t tokens = qkv.size(0), dim = config_.head_dim;
  const int64_t q = config_.heads * dim, kv = config_.kv_heads * dim;
  const auto normed = [&](const NormTensors& norm, int64_t begin, int64_t width) {
    return Norm(norm, qkv.narrow(1, begin, width).reshape({-1, dim})).view({tokens, width});
  };
  return at::cat(
      {normed(layer.q_norm, 0, q), normed(layer.k_norm, q, kv), qkv.narrow(1, q + kv, kv)}, 1);
}

at::Tensor Forward::WithPrefix(const at::Tensor& prefix, const at::Tensor& heads) const {
  const int64_t count = prefix.size(0), rows = heads.size(0), dim = config_.head_dim;
  const at::Tensor repeated = prefix.view({count, config_.kv_heads, dim})
                                  .repeat_interleave(config_.heads / config_.kv_heads, 1)
                                  .transpose(0, 1);
  return at::cat({repeated.expand({rows, config_.heads, count, dim}), heads}, 2);
}

at::Tensor Forward::Attend(const Heads& heads, int64_t prefix, bool local,
                           const RowsShape& shape) const {
  const int window = local ? config_.sliding_window : 0;
  at::Tensor ranges = shape.visible;
  const bool plain = config_.causal && !ranges.defined() && prefix == 0;
  if (config_.causal) {
    const at::Tensor causal = CausalRanges(shape.length, window);
    ranges = ranges.defined() ? at::maximum(ranges, causal) : causal;
  } else if (!ranges.defined()) {
    ranges = LengthRanges(std::span(&shape.length, 1), shape.length);
  }
  return AttentionOp(heads, ranges,
                     {.scale = config_.attn_scale,
                      .softcap = config_.attn_softcap,
                      .prefix = prefix,
                      .plain_causal = plain && (window == 0 || window >= shape.length)});
}

at::Tensor Forward::Attention(const LayerTensors& layer, int depth, const at::Tensor& x,
                              const RowsShape& shape) const {
  const bool local = config_.IsLocal(depth);
  at::Tensor qkv = Linear(x, layer.qkv, layer.qkv_bias);
  if (config_.qk_norm) qkv = WithHeadNorms(layer, qkv);
  const at::Tensor angles = Angles(local, shape.length, x.device());
  Heads heads = SplitHeads(qkv, angles,
                           {.rows = shape.rows,
                            .length = shape.length,
                            .heads = config_.heads,
                            .kv_heads = config_.kv_heads,
                            .head_dim = config_.head_dim,
                            .rotary_dim = config_.rotary_dim});
  int64_t prefix = 0;
  if (layer.prefix_k.defined()) {
    prefix = layer.prefix_k.size(0);
    heads.k = WithPrefix(layer.prefix_k, heads.k);
    heads.v = WithPrefix(layer.prefix_v, heads.v);
  }
  const at::Tensor attended = Attend(heads, prefix, local, shape)
                                  .transpose(1, 2)
                                  .reshape({-1, int64_t{config_.heads} * config_.head_dim});
  return Linear(attended, layer.o, layer.o_bias);
}

at::Tensor Forward::Ffn(const LayerTensors& layer, const at::Tensor& x) const {
  const at::Tensor inner =
      ActivationOp(Linear(x, layer.up, layer.up_bias), config_.activation, config_.gated_ffn);
  return Linear(inner, layer.down, layer.down_bias);
}

at::Tensor Forward::PreFfn(const LayerTensors& layer, const at::Tensor& x) const {
  const at::Tensor inner =
      ActivationOp(Linear(x, layer.pre_up, layer.pre_up_bias), config_.activation, false);
  return Linear(inner, layer.pre_down, layer.pre_down_bias);
}

at::Tensor Forward::CrossAttention(const LayerTensors& layer, const at::Tensor& x,
                                   const RowsShape& shape) const {
  const int64_t width = int64_t{config_.heads} * config_.head_dim;
  const auto heads = [&](const at::Tensor& t, int64_t length) {
    return t.unflatten(1, {config_.heads, config_.head_dim})
        .unflatten(0, {shape.rows, length})
        .transpose(1, 2);
  };
  const at::Tensor q = Linear(x, layer.cross_q, layer.cross_q_bias);
  const at::Tensor kv = Linear(shape.memory, layer.cross_kv, layer.cross_kv_bias);
  const at::Tensor k = kv.narrow(1, 0, width), v = kv.narrow(1, width, width);
  const at::Tensor attended = AttentionOp(
      {heads(q, shape.length), heads(k, shape.memory_length), heads(v, shape.memory_length)},
      LengthRanges(shape.memory_lengths, shape.length), {.scale = config_.attn_scale});
  return Linear(attended.transpose(1, 2).reshape({-1, width}), layer.cross_o, layer.cross_o_bias);
}

at::Tensor Forward::Convolution(const LayerTensors& layer, const at::Tensor& x,
                                const RowsShape& shape) const {
  const int64_t d = config_.d_model, kernel = config_.conv_kernel;
  const at::Tensor gated = at::glu(Linear(x, layer.conv_in, layer.conv_in_bias), 1);
  // A position sees itself and those before it.
  const at::Tensor padded = at::constant_pad_nd(
      gated.view({shape.rows, shape.length, d}).transpose(1, 2), {kernel - 1, 0});
  const at::Tensor mixed = at::conv1d(padded, layer.conv_depth.unsqueeze(1), layer.conv_depth_bias,
                                      /*stride=*/at::IntArrayRef{1}, /*padding=*/at::IntArrayRef{0},
                                      /*dilation=*/at::IntArrayRef{1}, /*groups=*/d)
                               .transpose(1, 2)
                               .reshape({-1, d});
  return Linear(at::silu(Norm(layer.conv_mid_norm, mixed)), layer.conv_out, layer.conv_out_bias);
}

at::Tensor Forward::Layer(const LayerTensors& layer, int depth, const at::Tensor& hidden,
                          const RowsShape& shape) const {
  const auto drop = [&](const at::Tensor& branch) { return DropoutOp(branch, shape.dropout); };
  const bool conformer = config_.conv_kernel > 0;
  at::Tensor x = hidden;
  if (layer.patch.defined()) x = x + Linear(x, layer.patch, {});
  const at::Tensor entering = x;
  if (conformer) x = x + 0.5 * drop(PreFfn(layer, Norm(layer.pre_ffn_norm, x)));
  at::Tensor attention = Attention(layer, depth, Norm(layer.attn_norm, x), shape);
  if (config_.post_norms) attention = Norm(layer.post_attn_norm, attention);
  at::Tensor middle = x + drop(attention);
  if (config_.cross_attention) {
    middle = middle + drop(CrossAttention(layer, Norm(layer.cross_norm, middle), shape));
  }
  if (conformer) middle = middle + drop(Convolution(layer, Norm(layer.conv_norm, middle), shape));
  const at::Tensor& ffn_input = config_.parallel_residual ? entering : middle;
  at::Tensor ffn = Ffn(layer, Norm(layer.ffn_norm, ffn_input));
  if (config_.post_norms) ffn = Norm(layer.post_ffn_norm, ffn);
  if (!conformer) return middle + drop(ffn);
  return Norm(layer.out_norm, middle + 0.5 * drop(ffn));
}

at::Tensor EmbedTokens(const ModelConfig& config, const at::Tensor& embedding,
                       const at::Tensor& positions, std::span<const int32_t> tokens,
                       int64_t length) {
  const at::NoGradGuard no_grad;
  at::Tensor hidden = embedding.index_select(0, IdsOn(embedding, tokens));
  if (config.embed_scale != 1) hidden.mul_(config.embed_scale);
  if (positions.defined()) {
    hidden.view({-1, length, config.d_model}).add_(positions.narrow(0, 0, length));
  }
  return hidden;
}

void EmbedTokensBackward(const ModelConfig& config, const at::Tensor& d_hidden,
                         std::span<const int32_t> tokens, int64_t length, at::Tensor embedding_grad,
                         at::Tensor positions_grad) {
  const int64_t width = config.d_model;
  if (embedding_grad.defined() && !embedding_grad.is_cpu()) {
    embedding_grad.index_add_(0, IdsOn(embedding_grad, tokens), d_hidden, config.embed_scale);
  } else if (embedding_grad.defined()) {
    const float* from = d_hidden.const_data_ptr<float>();
    float* to = embedding_grad.mutable_data_ptr<float>();
    // Tokens repeat, so threads share columns and not rows: the order of each sum is fixed.
    ForParts(width, [&](int, int64_t begin, int64_t end) {
      for (size_t t = 0; t < tokens.size(); ++t) {
        const float* source = from + static_cast<int64_t>(t) * width;
        float* target = to + tokens[t] * width;
        for (int64_t i = begin; i < end; ++i) target[i] += config.embed_scale * source[i];
      }
    });
  }
  if (positions_grad.defined()) {
    const at::NoGradGuard no_grad;
    positions_grad.narrow(0, 0, length).add_(d_hidden.view({-1, length, width}).sum(0));
  }
}

}  // namespace rondo
