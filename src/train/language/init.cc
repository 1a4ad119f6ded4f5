#include "train/language/init.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>
#include <utility>
#include <vector>

#include "base/choice.h"
#include "base/file.h"
#include "base/with_file.h"
#include "hub/hf_family.h"
#include "rondo/error.h"
#include "rondo/tokenizer.h"
#include "train/model/random_weights.h"

namespace rondo {
namespace {

// Families whose remaining fields follow from sizes alone.
constexpr std::array<std::string_view, 3> kFamilies = {"llama", "qwen3", "gpt2"};
constexpr uint64_t kMaxPlanBytes = uint64_t{16} << 20;

[[noreturn]] void Fail(const std::string& file, const std::string& field, std::string problem,
                       std::string expected) {
  throw Error({.function = "InitialModel",
               .problem = std::move(problem),
               .expected = std::move(expected),
               .file = file,
               .field = field});
}

// Usual sizes: four times the model, or as many parameters in three matrices instead of two.
int UsualFfn(const ModelConfig& config) {
  constexpr int kMultiple = 32;
  if (!config.gated_ffn) return 4 * config.d_model;
  return (8 * config.d_model / 3 + kMultiple - 1) / kMultiple * kMultiple;
}

void SetVocabulary(const InitSection& init, const std::string& file, ModelConfig& config) {
  const auto tokenizer = LoadTokenizer(init.tokenizer);
  config.vocab = init.vocab > 0 ? init.vocab : tokenizer->vocab_size();
  if (config.vocab < tokenizer->vocab_size()) {
    Fail(file, "init.vocab", "value " + std::to_string(init.vocab),
         "0, or the tokenizer's " + std::to_string(tokenizer->vocab_size()) + " and more");
  }
  config.bos_token = tokenizer->bos();
  config.eos_tokens = tokenizer->eos();
}

ModelConfig ConfigOf(const InitSection& init, const std::string& file) {
  WithFile(
      file, [&] { ChoiceFromName<int>(kFamilies, init.family, "InitialModel"); }, "init.family");
  ModelConfig config = FindHfFamily(init.family, file).defaults;
  config.layers = init.layers;
  config.d_model = init.d_model;
  config.heads = init.heads;
  config.kv_heads = init.kv_heads > 0 ? init.kv_heads : init.heads;
  config.head_dim = init.head_dim;
  if (init.head_dim == 0 && init.heads > 0) {
    config.head_dim = init.d_model / init.heads;
    if (config.head_dim * init.heads != init.d_model) {
      Fail(file, "init.heads", "value " + std::to_string(init.heads),
           "a divisor of d_model (" + std::to_string(init.d_model) + "), or a head_dim");
    }
  }
  config.d_ff = init.d_ff > 0 ? init.d_ff : UsualFfn(config);
  config.max_positions = init.max_positions;
  config.tied_embeddings = init.tied_embeddings;
  config.sliding_window = 0;
  config.attn_scale = 1 / std::sqrt(static_cast<float>(std::max(1, config.head_dim)));
  if (config.positions == PositionKind::kRope) {
    config.rotary_dim = config.head_dim;
    config.rope_theta = static_cast<float>(init.rope_theta);
  }
  SetVocabulary(init, file, config);
  return config;
}

SharingPlan PlanOf(const InitSection& init, const ModelConfig& config) {
  if (init.plan.empty()) return IdentityPlan(config);
  return WithFile(init.plan, [&] {
    SharingPlan plan = PlanFromJson(ReadTextFile(init.plan, kMaxPlanBytes), init.plan);
    plan.Validate(config);
    return plan;
  });
}

}  // namespace

Model InitialModel(const InitSection& init, const std::string& file) {
  if (init.tokenizer.empty()) {
    Fail(file, "init.tokenizer", "no tokenizer", "a model with one, or a tokenizer.json");
  }
  if (!(init.deviation > 0 && init.deviation <= 1)) {
    Fail(file, "init.deviation", "value " + std::to_string(init.deviation), "above 0, to 1");
  }
  return WithFile(file, [&] {
    Model model{.config = ConfigOf(init, file), .plan = {}, .weights = {}, .path = init.tokenizer};
    model.config.Validate();
    model.plan = PlanOf(init, model.config);
    SetRandomWeights(
        init.seed, "", [&](const TensorSpec&) { return init.deviation; }, model);
    CheckWeights(model.config, model.plan, model.weights, file);
    return model;
  });
}

Model StartingModel(const Recipe& recipe) {
  if (recipe.init.has_value() == !recipe.model.empty()) {
    throw Error({.function = "StartingModel",
                 .problem = recipe.init ? "both model and [init]" : "neither model nor [init]",
                 .expected = "a model to go on with, or [init] to begin with random weights",
                 .file = recipe.file,
                 .field = "model"});
  }
  return recipe.init ? InitialModel(*recipe.init, recipe.file) : LoadModel(recipe.model);
}

}  // namespace rondo
