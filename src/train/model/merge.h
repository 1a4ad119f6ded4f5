// Dense matrices of a depth: shared tensor and residual merged once per step, so that a linear is
// one product per token and its three gradients (shared tensor, both factors) come from the
// gradient of the merged matrix. For T tokens and rank r that costs out · in · r instead of
// T · (out + in) · r multiply-adds.
#pragma once

#include <bitset>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "rondo/model.h"
#include "train/model/params.h"
#include "train/model/torch.h"

namespace rondo {

struct NormTensors {
  at::Tensor gain, bias;  // undefined: ones, zeros
};

// What one depth computes with. Linears that read the same input are one matrix.
struct LayerTensors {
  at::Tensor qkv, o, up, down;                      // [out, in]; up holds gate above up
  at::Tensor qkv_bias, o_bias, up_bias, down_bias;  // undefined: none
  NormTensors attn_norm, ffn_norm, q_norm, k_norm, post_attn_norm, post_ffn_norm;
  at::Tensor prefix_k, prefix_v;  // [prefix, kv_heads · head_dim]; undefined: none
  at::Tensor patch;               // [d_model, d_model], added to what enters; undefined: none
  // Speech models; undefined where the configuration has none. cross_kv holds k above v.
  at::Tensor cross_q, cross_kv, cross_o, pre_up, pre_down, conv_in, conv_out, conv_depth;
  at::Tensor cross_q_bias, cross_kv_bias, cross_o_bias, pre_up_bias, pre_down_bias, conv_in_bias,
      conv_out_bias, conv_depth_bias;
  NormTensors cross_norm, pre_ffn_norm, conv_norm, conv_mid_norm, out_norm;
};

// A part of every linear that fades: the matrix used at a depth is merged + weight · rest, with
// `rest` what the merged matrix lacked at the start of training (gradual folding).
struct FadingRest {
  std::map<std::pair<int, Module>, at::Tensor> rest;  // [out, in], f32, not trained
  std::vector<double> weight;                         // [depths]
};

// By depth, the modules whose shared tensors get no gradient from there; empty: all get theirs.
using CutGradients = std::vector<std::bitset<kModuleCount>>;

struct MergeOptions {
  const FadingRest* fading = nullptr;
  const CutGradients* cut = nullptr;
  // Stands before the names of parameters: a speech model's encoder and decoder are among the same.
  std::string_view scope = {};
};

// Differentiable by all trained parameters but for what is cut.
LayerTensors MergeLayer(const Params& params, const ModelConfig& config, const SharingPlan& plan,
                        int depth, const MergeOptions& options = {});

// Leaves the first `width` channels of the feed-forward; the others' parameters get a gradient of
// zero.
void NarrowFfn(const ModelConfig& config, int64_t width, LayerTensors& layer);

// Rounds the matrices of a layer without gradients.
void RoundMatrices(at::ScalarType type, LayerTensors& layer);

// The dense matrix of one linear, without a graph when no gradient is wanted.
at::Tensor MergeLinear(const Params& params, const SharingPlan& plan, Module m, int depth);

}  // namespace rondo
