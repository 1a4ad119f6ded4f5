#include "train/model/merge.h"

#include <utility>

#include "train/model/fused.h"
#include "train/model/matmul.h"

namespace rondo {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Variable;
using torch::autograd::variable_list;

// The parameters whose names begin with a scope, by the rest of their names.
struct Scoped {
  const Params& params;
  std::string_view scope = {};
  const CutGradients* cut = nullptr;
  std::string NameOf(std::string_view name) const { return std::string(scope).append(name); }
  const at::Tensor& Get(std::string_view name) const { return params.Get(NameOf(name)); }
  bool Has(std::string_view name) const { return params.Has(NameOf(name)); }
  // A tensor of a block as a depth uses it.
  at::Tensor Shared(Module m, int depth, std::string_view name) const {
    const bool is_cut = cut != nullptr && !cut->empty() &&
                        (*cut)[static_cast<size_t>(depth)][static_cast<size_t>(m)];
    return is_cut ? Get(name).detach() : Get(name);
  }
};

// One linear of a group: where its tensors are.
struct LinearParts {
  ResidualKind kind = ResidualKind::kNone;
  at::Tensor shared, a, b, vector;  // vector: diagonal, magnitude or scale
  at::Tensor rest;                  // fading
  double rest_weight = 0;
  at::Tensor gain;  // undefined: none
};

// A block's matrix; of one of low rank the product of its factors.
at::Tensor SharedMatrix(const Scoped& params, const SharingPlan& plan, Module m, int depth) {
  const int block = plan[m].blocks[static_cast<size_t>(depth)];
  if (plan[m].FactorRank(block) == 0) return params.Shared(m, depth, BlockTensor(block, m));
  return at::mm(params.Shared(m, depth, BlockTensor(block, m, "b")),
                params.Shared(m, depth, BlockTensor(block, m, "a")));
}

LinearParts FindParts(const Scoped& params, const SharingPlan& plan, Module m, int depth,
                      const FadingRest* fading) {
  const auto at = static_cast<size_t>(depth);
  LinearParts parts{.shared = SharedMatrix(params, plan, m, depth)};
  if (plan[m].Gain(depth) != GainKind::kNone) {
    parts.gain = params.Get(ResidualTensor(depth, m, "gain"));
  }
  if (plan.HasResidual(m, depth)) {
    parts.kind = plan[m].residual;
    const auto find = [&](std::string_view part) {
      const std::string name = ResidualTensor(depth, m, part);
      return params.Has(name) ? params.Get(name) : at::Tensor();
    };
    parts.a = find("a");
    parts.b = find("b");
    for (const char* name : {"diag", "magnitude", "scale"}) {
      if (const at::Tensor found = find(name); found.defined()) parts.vector = found;
    }
  }
  if (fading != nullptr && fading->weight[at] != 0) {
    const auto found = fading->rest.find({depth, m});
    if (found != fading->rest.end()) {
      parts.rest = found->second;
      parts.rest_weight = fading->weight[at];
    }
  }
  return parts;
}

// Any residual, composed of LibTorch's operations.
at::Tensor Compose(const LinearParts& p) {
  at::Tensor w = p.shared;
  if (p.kind == ResidualKind::kKronecker) {
    // Σ_r A_r ⊗ B_r with a [rank, out_a, in_a], b [rank, out_b, in_b].
    w = w + at::einsum("rij,rkl->ikjl", {p.a, p.b}).reshape(w.sizes());
  } else if (p.a.defined()) {
    w = at::addmm(w, p.b, p.a);
  }
  switch (p.kind) {
    case ResidualKind::kLoraDiag: {
      const int64_t size = p.vector.size(0);
      const at::Tensor diagonal = at::diag_embed(p.vector);
      w = w + at::constant_pad_nd(diagonal, {0, w.size(1) - size, 0, w.size(0) - size});
      break;
    }
    case ResidualKind::kDora:
      w = w * (p.vector / at::linalg_vector_norm(w, 2, at::IntArrayRef{1})).unsqueeze(1);
      break;
    case ResidualKind::kMulDiag:
      w = w * p.vector.unsqueeze(0);
      break;
    default:
      break;
  }
  if (p.rest.defined()) w = at::add(w, p.rest, p.rest_weight);
  if (p.gain.defined()) w = w * p.gain.unsqueeze(1);
  return w;
}

// Shared tensors with low-rank residuals, written one above the other into a single matrix.
class MergeFunction : public torch::autograd::Function<MergeFunction> {
 public:
  // shared, a, b and rest of every linear in turn; a, b and rest may be empty.
  static Variable forward(AutogradContext* ctx, at::TensorList tensors,
                          std::vector<double> rest_weights) {
    int64_t out = 0;
    for (size_t i = 0; i < tensors.size(); i += 4) out += tensors[i].size(0);
    at::Tensor merged = at::empty({out, tensors[0].size(1)}, tensors[0].options());
    variable_list factors;
    std::vector<int64_t> rows;
    int64_t row = 0;
    for (size_t i = 0; i < tensors.size(); i += 4) {
      const at::Tensor &shared = tensors[i], &a = tensors[i + 1], &b = tensors[i + 2];
      at::Tensor slice = merged.narrow(0, row, shared.size(0));
      if (IsGiven(a)) {
        at::add_out(slice, shared, MatMul(b, a));
      } else {
        slice.copy_(shared);
      }
      if (IsGiven(tensors[i + 3])) slice.add_(tensors[i + 3], rest_weights[i / 4]);
      factors.push_back(a);
      factors.push_back(b);
      rows.push_back(shared.size(0));
      row += shared.size(0);
    }
    ctx->save_for_backward(factors);
    ctx->saved_data["rows"] = rows;
    return merged;
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const variable_list factors = ctx->get_saved_variables();
    const std::vector<int64_t> rows = ctx->saved_data["rows"].toIntVector();
    variable_list out;
    int64_t row = 0;
    for (size_t i = 0; i < rows.size(); ++i) {
      const at::Tensor slice = grads[0].narrow(0, row, rows[i]);
      const at::Tensor &a = factors[2 * i], &b = factors[2 * i + 1];
      const bool with_a = IsGiven(a) && ctx->needs_input_grad(4 * i + 1);
      const bool with_b = IsGiven(b) && ctx->needs_input_grad(4 * i + 2);
      out.push_back(ctx->needs_input_grad(4 * i) ? slice : Variable());
      out.push_back(with_a ? MatMul(b.t(), slice) : Variable());
      out.push_back(with_b ? MatMul(slice, a.t()) : Variable());
      out.push_back(Variable());
      row += rows[i];
    }
    out.push_back(Variable());
    return out;
  }
};

bool IsLowRank(const LinearParts& p) {
  return (p.kind == ResidualKind::kNone || p.kind == ResidualKind::kLora) && !p.gain.defined();
}

at::Tensor MergeGroup(const Scoped& params, const SharingPlan& plan, std::span<const Module> group,
                      int depth, const FadingRest* fading) {
  std::vector<LinearParts> linears;
  bool low_rank = true;
  for (const Module m : group) {
    linears.push_back(FindParts(params, plan, m, depth, fading));
    low_rank = low_rank && IsLowRank(linears.back());
  }
  if (linears.size() == 1 && linears[0].kind == ResidualKind::kNone && !linears[0].rest.defined() &&
      !linears[0].gain.defined()) {
    return linears[0].shared;
  }
  if (low_rank) {
    variable_list tensors;
    std::vector<double> weights;
    for (const LinearParts& p : linears) {
      tensors.insert(tensors.end(), {p.shared, OrEmpty(p.a), OrEmpty(p.b), OrEmpty(p.rest)});
      weights.push_back(p.rest_weight);
    }
    // As a TensorList: LibTorch takes a vector for a constant without gradient.
    return MergeFunction::apply(at::TensorList(tensors), weights);
  }
  std::vector<at::Tensor> merged;
  for (const LinearParts& p : linears) merged.push_back(Compose(p));
  return merged.size() == 1 ? merged[0] : at::cat(merged);
}

at::Tensor BiasOf(const Scoped& params, const SharingPlan& plan, Module m, int depth) {
  const int block = plan[m].blocks[static_cast<size_t>(depth)];
  if (block == kAbsorbed) return {};
  const at::Tensor bias = plan[m].own_bias ? params.Get(ResidualTensor(depth, m, "bias"))
                                           : params.Shared(m, depth, BlockTensor(block, m, "bias"));
  if (plan[m].Gain(depth) == GainKind::kNone) return bias;
  return bias * params.Get(ResidualTensor(depth, m, "gain"));
}

// Biases of a group, one behind the other, zeros for a linear without one.
at::Tensor GroupBias(const Scoped& params, const ModelConfig& config, const SharingPlan& plan,
                     std::span<const Module> group, int depth) {
  std::vector<at::Tensor> biases;
  bool any = false;
  for (const Module m : group) {
    any = any || config.HasBias(m);
    biases.push_back(config.HasBias(m) ? BiasOf(params, plan, m, depth)
                                       : at::zeros({plan.MatrixShape(config, m, depth)[0]},
                                                   at::device(params.params.device())));
  }
  if (!any) return {};
  return biases.size() == 1 ? biases[0] : at::cat(biases);
}

NormTensors NormOf(const Scoped& params, const ModelConfig& config, const SharingPlan& plan,
                   Module m, int depth) {
  if (!config.HasModule(m)) return {};
  const int block = plan[m].blocks[static_cast<size_t>(depth)];
  if (block == kAbsorbed) return {};
  return {.gain = params.Shared(m, depth, BlockTensor(block, m)),
          .bias = config.HasBias(m) ? BiasOf(params, plan, m, depth) : at::Tensor()};
}

template <typename Merge, typename Bias, typename Norm>
void AddCross(const Merge& merge, const Bias& bias, const Norm& norm, LayerTensors& layer) {
  constexpr Module kQuery[] = {Module::kCrossQ}, kOut[] = {Module::kCrossO};
  constexpr Module kKeys[] = {Module::kCrossK, Module::kCrossV};
  layer.cross_q = merge(kQuery);
  layer.cross_q_bias = bias(kQuery);
  layer.cross_kv = merge(kKeys);
  layer.cross_kv_bias = bias(kKeys);
  layer.cross_o = merge(kOut);
  layer.cross_o_bias = bias(kOut);
  layer.cross_norm = norm(Module::kCrossNorm);
}

template <typename Merge, typename Bias, typename Norm>
void AddConformer(const Scoped& params, const SharingPlan& plan, int depth, const Merge& merge,
                  const Bias& bias, const Norm& norm, LayerTensors& layer) {
  constexpr Module kPreUp[] = {Module::kPreUp}, kPreDown[] = {Module::kPreDown};
  constexpr Module kConvIn[] = {Module::kConvIn}, kConvOut[] = {Module::kConvOut};
  constexpr Module kDepth = Module::kConvDepth;
  layer.pre_up = merge(kPreUp);
  layer.pre_up_bias = bias(kPreUp);
  layer.pre_down = merge(kPreDown);
  layer.pre_down_bias = bias(kPreDown);
  layer.conv_in = merge(kConvIn);
  layer.conv_in_bias = bias(kConvIn);
  layer.conv_out = merge(kConvOut);
  layer.conv_out_bias = bias(kConvOut);
  layer.conv_depth =
      params.Get(BlockTensor(plan[kDepth].blocks[static_cast<size_t>(depth)], kDepth));
  layer.conv_depth_bias = BiasOf(params, plan, kDepth, depth);
  layer.pre_ffn_norm = norm(Module::kPreFfnNorm);
  layer.conv_norm = norm(Module::kConvNorm);
  layer.conv_mid_norm = norm(Module::kConvMidNorm);
  layer.out_norm = norm(Module::kOutNorm);
}

}  // namespace

LayerTensors MergeLayer(const Params& all, const ModelConfig& config, const SharingPlan& plan,
                        int depth, const MergeOptions& options) {
  const Scoped params{all, options.scope, options.cut};
  constexpr Module kQkv[] = {Module::kQ, Module::kK, Module::kV};
  constexpr Module kO[] = {Module::kO};
  constexpr Module kGateUp[] = {Module::kGate, Module::kUp};
  constexpr Module kDown[] = {Module::kDown};
  const std::span<const Module> up =
      config.gated_ffn ? std::span(kGateUp) : std::span(kGateUp).subspan(1);
  const auto merge = [&](std::span<const Module> group) {
    return MergeGroup(params, plan, group, depth, options.fading);
  };
  const auto bias = [&](std::span<const Module> group) {
    return GroupBias(params, config, plan, group, depth);
  };
  const auto norm = [&](Module m) { return NormOf(params, config, plan, m, depth); };
  const auto prefix = [&](const char* part) {
    return plan.prefix > 0 ? params.Get(PrefixTensor(depth, part)) : at::Tensor();
  };
  LayerTensors layer = {.qkv = merge(kQkv),
                        .o = merge(kO),
                        .up = merge(up),
                        .down = merge(kDown),
                        .qkv_bias = bias(kQkv),
                        .o_bias = bias(kO),
                        .up_bias = bias(up),
                        .down_bias = bias(kDown),
                        .attn_norm = norm(Module::kAttnNorm),
                        .ffn_norm = norm(Module::kFfnNorm),
                        .q_norm = norm(Module::kQNorm),
                        .k_norm = norm(Module::kKNorm),
                        .post_attn_norm = norm(Module::kPostAttnNorm),
                        .post_ffn_norm = norm(Module::kPostFfnNorm),
                        .prefix_k = prefix("k"),
                        .prefix_v = prefix("v")};
  if (plan.HasPatch(depth)) layer.patch = params.Get(PatchTensor(depth));
  if (config.cross_attention) AddCross(merge, bias, norm, layer);
  if (config.conv_kernel > 0) AddConformer(params, plan, depth, merge, bias, norm, layer);
  return layer;
}

void NarrowFfn(const ModelConfig& config, int64_t width, LayerTensors& layer) {
  const int64_t whole = layer.down.size(1);  // of a depth that is narrower already, its own
  if (width >= whole) return;
  const auto narrow = [&](const at::Tensor& t) {
    const at::Tensor up = t.narrow(0, t.size(0) - whole, width);
    return config.gated_ffn ? at::cat({t.narrow(0, 0, width), up}) : up;
  };
  layer.up = narrow(layer.up);
  if (layer.up_bias.defined()) layer.up_bias = narrow(layer.up_bias);
  layer.down = layer.down.narrow(1, 0, width).contiguous();
}

void RoundMatrices(at::ScalarType type, LayerTensors& layer) {
  const at::NoGradGuard no_grad;
  for (at::Tensor* matrix : {&layer.qkv, &layer.o, &layer.up, &layer.down, &layer.cross_q,
                             &layer.cross_kv, &layer.cross_o, &layer.pre_up, &layer.pre_down,
                             &layer.conv_in, &layer.conv_out, &layer.patch}) {
    if (matrix->defined()) *matrix = matrix->to(type);
  }
}

at::Tensor MergeLinear(const Params& params, const SharingPlan& plan, Module m, int depth) {
  return Compose(FindParts({params}, plan, m, depth, nullptr));
}

}  // namespace rondo
