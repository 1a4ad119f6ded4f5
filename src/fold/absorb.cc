#include "fold/absorb.h"

#include <string>

#include "rondo/error.h"

namespace rondo {

std::optional<Module> NormBefore(Module m) {
  switch (m) {
    case Module::kQ:
    case Module::kK:
    case Module::kV:
      return Module::kAttnNorm;
    case Module::kGate:
    case Module::kUp:
      return Module::kFfnNorm;
    default:
      return std::nullopt;
  }
}

void CheckAbsorption(const ModelConfig& config, const SharingPlan& plan) {
  if (config.norm != NormKind::kLayer) return;
  for (const Module m : kAllModules) {
    const auto norm = NormBefore(m);
    if (!norm || !config.HasModule(m) || config.HasBias(m)) continue;
    const std::vector<int>& blocks = plan[*norm].blocks;
    if (blocks.empty() || blocks[0] != kAbsorbed) continue;
    throw Error({.function = "CheckAbsorption",
                 .problem = "absorbed, but " + std::string(Name(m)) + " has no bias",
                 .expected = "norms of their own: a LayerNorm's bias needs a bias to go to",
                 .file = {},
                 .field = "modules." + std::string(Name(*norm))});
  }
}

bool SourceLayers::Absorbs(Module m) const {
  const auto norm = NormBefore(m);
  return norm && plan_[*norm].blocks[0] == kAbsorbed;
}

const Tensor& SourceLayers::Stored(Module m, int depth) const {
  return model_.weights.Get(BlockTensor(depth, m));
}

std::vector<float> SourceLayers::Weight(Module m, int depth) const {
  std::vector<float> weight = ToF32(Stored(m, depth));
  if (!Absorbs(m)) return weight;
  const std::vector<float> gain = ToF32(Stored(*NormBefore(m), depth));
  const size_t in = gain.size();
  for (size_t i = 0; i < weight.size(); i += in) {
    for (size_t j = 0; j < in; ++j) weight[i + j] *= gain[j];
  }
  return weight;
}

MatrixF64 SourceLayers::WeightF64(Module m, int depth) const {
  const Shape& shape = Stored(m, depth).shape();
  return Widen(Weight(m, depth), shape[0], shape[1]);
}

std::vector<float> SourceLayers::Bias(Module m, int depth) const {
  std::vector<float> bias = ToF32(model_.weights.Get(BlockTensor(depth, m, "bias")));
  if (!Absorbs(m) || model_.config.norm != NormKind::kLayer) return bias;
  const std::vector<float> weight = ToF32(Stored(m, depth));
  const std::vector<float> shift =
      ToF32(model_.weights.Get(BlockTensor(depth, *NormBefore(m), "bias")));
  const size_t in = shift.size();
  for (size_t i = 0; i < bias.size(); ++i) {
    double sum = bias[i];
    for (size_t j = 0; j < in; ++j) sum += double{weight[i * in + j]} * shift[j];
    bias[i] = static_cast<float>(sum);
  }
  return bias;
}

}  // namespace rondo
