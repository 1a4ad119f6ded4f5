// Small random models for the tests of training.
#pragma once

#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "corpus/token_data.h"
#include "engine/engine_testing.h"
#include "train/model/student.h"

namespace rondo {

struct FamilyCase {
  std::string name;
  ModelConfig config;
};

// One configuration for every way in which families differ.
inline std::vector<FamilyCase> Families() {
  std::vector<FamilyCase> cases = {{"llama", SmallConfig()}};
  ModelConfig gemma = SmallConfig();
  gemma.qk_norm = gemma.post_norms = gemma.tied_embeddings = true;
  gemma.activation = Activation::kGeluTanh;
  gemma.embed_scale = std::sqrt(24.0f);
  gemma.sliding_window = 5;
  gemma.local_layers = {1, 1, 0, 1};
  gemma.rope_theta = 1000;
  gemma.rope_local_theta = 50;
  cases.push_back({"gemma3", gemma});
  ModelConfig capped = gemma;
  capped.qk_norm = false;
  capped.attn_softcap = 2;
  capped.logit_softcap = 3;
  cases.push_back({"gemma2", capped});
  ModelConfig qwen = SmallConfig();
  qwen.qkv_bias = qwen.tied_embeddings = true;
  cases.push_back({"qwen2", qwen});
  ModelConfig neox = SmallConfig();
  neox.norm = NormKind::kLayer;
  neox.parallel_residual = true;
  neox.gated_ffn = false;
  neox.activation = Activation::kGelu;
  neox.kv_heads = neox.heads;
  neox.rotary_dim = 2;
  neox.qkv_bias = neox.o_bias = neox.ffn_bias = true;
  cases.push_back({"gpt_neox", neox});
  ModelConfig gpt2 = neox;
  gpt2.parallel_residual = false;
  gpt2.positions = PositionKind::kLearned;
  gpt2.activation = Activation::kGeluTanh;
  gpt2.rotary_dim = 0;
  gpt2.head_bias = true;
  cases.push_back({"gpt2", gpt2});
  ModelConfig llama3 = SmallConfig();
  llama3.rope_scaling = {RopeScalingKind::kLlama3, 8, 1, 4, 16};
  llama3.activation = Activation::kRelu;
  cases.push_back({"llama3", llama3});
  return cases;
}

// Rows of random tokens; `border` > 0 starts a second document there in every odd row.
inline TokenBatch RandomBatch(int rows, int length, int vocab, int border = 0, uint64_t seed = 3) {
  TokenBatch batch{.rows = rows, .length = length};
  batch.tokens = RandomTokens(rows * (length + 1), vocab, seed);
  for (int row = 0; row < rows; ++row) {
    for (int i = 0; i <= length; ++i) {
      batch.document.push_back(border > 0 && row % 2 == 1 && i >= border);
    }
    batch.row_ids.push_back(row);
  }
  return batch;
}

inline Params AllTrained(const Model& model) {
  const TrainGroup all[] = {{"*"}};
  return Params(model, all);
}

inline Student MakeStudent(Params& params, const Model& model,
                           Recompute recompute = Recompute::kNone, int64_t max_length = 32,
                           ComputeType compute = ComputeType::kF32) {
  return Student(params, model.config, model.plan, max_length, compute, recompute, nullptr);
}

// Products of bf16 operands move the gradient about as much as bf16 parameters do: each of the
// operands, results and gradients is rounded as often as a parameter. `gradient(params, compute)`
// returns it.
template <typename Gradient>
void ExpectBf16Near(const Model& model, Gradient&& gradient) {
  Params params = AllTrained(model);
  const at::Tensor exact = gradient(params, ComputeType::kF32).clone();
  params.ZeroGrad();
  const at::Tensor rounded = gradient(params, ComputeType::kBf16).clone();
  params.ZeroGrad();
  {
    const at::NoGradGuard no_grad;
    params.flat().copy_(params.flat().to(at::kBFloat16));
  }
  const at::Tensor of_rounded = gradient(params, ComputeType::kF32);
  const double error = (rounded - exact).norm().item<double>();
  EXPECT_LT(error, 4 * (of_rounded - exact).norm().item<double>());
  EXPECT_GT(error, 1e-4 * exact.norm().item<double>()) << "nothing was rounded";
}

// Gains, blocks of low rank, narrowed feed-forwards, linear patches and a factorised embedding.
inline SharingPlan ChangedPlan(const ModelConfig& config) {
  SharingPlan plan = CyclePlan(config, 2, ResidualKind::kLora, 3);
  const auto layers = static_cast<size_t>(config.layers);
  for (const Module m : {Module::kO, Module::kDown, Module::kV}) {
    plan[m].gains.assign(layers, GainKind::kVector);
    plan[m].gains[0] = GainKind::kNone;
    plan[m].gains[1] = GainKind::kScalar;
  }
  plan[Module::kUp].factors = {4, 0};
  plan[Module::kO].factors = {0, 3};
  plan.ffn_widths.assign(layers, config.d_ff);
  for (size_t d = 1; d < layers; d += 2) plan.ffn_widths[d] = config.d_ff / 2;
  plan.patches = {1};
  plan.embedding_rank = 5;
  return plan;
}

}  // namespace rondo
