// Plans and sizes of speech models.
#include <cmath>

#include "rondo/error.h"
#include "rondo/speech_model.h"

namespace rondo {

ModelConfig EncoderConfig(int layers, int d_model, int d_ff, int heads) {
  ModelConfig config;
  config.family = "encoder";
  config.layers = layers;
  config.d_model = d_model;
  config.d_ff = d_ff;
  config.heads = config.kv_heads = heads;
  config.head_dim = heads > 0 ? d_model / heads : 0;
  config.max_positions = 1 << 20;
  config.norm = NormKind::kLayer;
  config.positions = PositionKind::kSinusoidal;
  config.activation = Activation::kRelu;
  config.gated_ffn = false;
  config.attn_scale = 1 / std::sqrt(static_cast<float>(std::max(1, config.head_dim)));
  config.qkv_bias = config.o_bias = config.ffn_bias = true;
  config.tied_embeddings = true;
  config.causal = false;
  return config;
}

SharingPlan ResidualTransformerPlan(const ModelConfig& config, const ResidualPlanOptions& options) {
  if (options.share < 1 || options.rank < 0) {
    throw Error({.function = "ResidualTransformerPlan",
                 .problem = options.share < 1 ? "share " + std::to_string(options.share)
                                              : "rank " + std::to_string(options.rank),
                 .expected = options.share < 1 ? "1 or more adjacent depths" : "0 or more"});
  }
  SharingPlan plan = IdentityPlan(config);
  if (options.share == 1) return plan;
  plan.order = "sequence";
  plan.loops = options.share;
  for (const Module m : kAllModules) {
    if (!config.HasModule(m) || (options.own_norms && !IsLinear(m))) continue;
    ModulePlan& module = plan[m];
    for (int& block : module.blocks) block /= options.share;
    if (!IsLinear(m)) continue;
    const Shape shape = config.ModuleShape(m);
    const bool diagonal = options.diagonal && (!options.square_diagonal || shape[0] == shape[1]);
    if (options.rank == 0 && !diagonal) continue;
    module.residual = diagonal ? ResidualKind::kLoraDiag : ResidualKind::kLora;
    module.ranks.assign(module.blocks.size(), options.rank);
  }
  return plan;
}

std::vector<ChunkContext> ChunksOf(const AttentionContext& context, int64_t length) {
  std::vector<ChunkContext> chunks;
  const int64_t chunk = context.chunk > 0 ? context.chunk : length;
  for (int64_t begin = 0; begin < length; begin += chunk) {
    const int64_t end = std::min(length, begin + chunk);
    const int64_t left = context.left_chunks < 0 ? begin : context.left_chunks * chunk;
    chunks.push_back({begin, end, std::max<int64_t>(0, begin - left), end});
  }
  return chunks;
}

std::vector<float> SinusoidalPositions(int64_t first, int64_t length, int64_t width) {
  const int64_t half = width / 2;
  const double step = std::log(10000.0) / static_cast<double>(std::max<int64_t>(1, half - 1));
  std::vector<float> table(static_cast<size_t>(length * width), 0.0f);
  for (int64_t t = 0; t < length; ++t) {
    float* row = table.data() + t * width;
    for (int64_t i = 0; i < half; ++i) {
      const double angle =
          static_cast<double>(first + t) * std::exp(-step * static_cast<double>(i));
      row[i] = static_cast<float>(std::sin(angle));
      row[half + i] = static_cast<float>(std::cos(angle));
    }
  }
  return table;
}

double SpeechParameters::EncoderShare() const {
  return static_cast<double>(encoder.NonEmbedding()) / static_cast<double>(encoder.logical);
}

SpeechParameters CountParameters(const SpeechModel& model) {
  SpeechParameters count;
  count.encoder = CountParameters(model.encoder.config, model.encoder.plan);
  if (model.decoder) count.decoder = CountParameters(model.decoder->config, model.decoder->plan);
  for (const TensorSpec& spec : ExpectedHeadTensors(model.config, model.encoder.config.d_model)) {
    count.heads += ElementCount(spec.shape);
  }
  return count;
}

}  // namespace rondo
