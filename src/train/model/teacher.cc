#include "train/model/teacher.h"

#include <algorithm>

namespace rondo {
namespace {

constexpr const char* kProjection = "embed_projection.weight";

}  // namespace

const at::Tensor& HeadWeight(const Params& params, const ModelConfig& config) {
  return params.Get(config.tied_embeddings ? "embed.weight" : "head.weight");
}

LogitHead HeadOf(const Params& params, const ModelConfig& config, ComputeType compute) {
  const at::NoGradGuard no_grad;
  return {.weight = HeadWeight(params, config).to(OperandType(compute)),
          .bias = config.head_bias ? params.Get("head.bias") : at::Tensor(),
          .softcap = config.logit_softcap};
}

NormTensors FinalNormOf(const Params& params, const ModelConfig& config) {
  const bool factorised = config.tied_embeddings && params.Has(kProjection);
  return {.gain = params.Get("final_norm.weight"),
          .bias = config.norm == NormKind::kLayer ? params.Get("final_norm.bias") : at::Tensor(),
          .projection = factorised ? params.Get(kProjection) : at::Tensor()};
}

EmbeddingTensors EmbeddingOf(const Params& params) {
  const auto find = [&](const char* name) {
    return params.Has(name) ? params.Get(name) : at::Tensor();
  };
  return {.rows = params.Get("embed.weight"),
          .projection = find(kProjection),
          .positions = find("positions.weight")};
}

Teacher::Teacher(const Model& model, int64_t max_length, ComputeType compute, at::Device device)
    : Teacher(Params::Frozen(model, device), model.config, model.plan, max_length, compute, nullptr,
              model.config.d_ff) {}

Teacher::Teacher(const Params& params, const ModelConfig& config, const SharingPlan& plan,
                 int64_t max_length, ComputeType compute, const FadingRest* fading,
                 int64_t ffn_width)
    : forward_(config, max_length, compute, params.device()) {
  const at::NoGradGuard no_grad;
  embedding_ = EmbeddingOf(params);
  for (int depth = 0; depth < config.layers; ++depth) {
    layers_.push_back(MergeLayer(params, config, plan, depth, {.fading = fading}));
    NarrowFfn(config, ffn_width, layers_.back());
    RoundMatrices(OperandType(compute), layers_.back());
  }
  final_norm_ = FinalNormOf(params, config);
  head_ = HeadOf(params, config, compute);
}

TeacherOutput Teacher::Run(std::span<const int32_t> tokens, const RowsShape& shape,
                           std::span<const int> keep) const {
  const at::NoGradGuard no_grad;
  TeacherOutput out;
  at::Tensor hidden = EmbedTokens(config(), embedding_, tokens, shape.length);
  for (int depth = 0; depth < config().layers; ++depth) {
    if (std::ranges::find(keep, depth) != keep.end()) out.hidden[depth] = hidden;
    hidden = forward_.Layer(layer(depth), depth, hidden, shape);
  }
  if (std::ranges::find(keep, config().layers) != keep.end()) {
    out.hidden[config().layers] = hidden;
  }
  out.normed = forward_.Norm(final_norm_, hidden);
  return out;
}

}  // namespace rondo
