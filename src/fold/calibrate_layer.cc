#include "fold/calibrate_layer.h"

#include <algorithm>
#include <array>

#include "kernels/rope.h"
#include "kernels/row_ops.h"
#include "rondo/error.h"
#include "rondo/thread_pool.h"

namespace rondo {
namespace {

constexpr std::array kAttnModules = {Module::kQ, Module::kK, Module::kV};
constexpr std::array kOModules = {Module::kO};
constexpr std::array kFfnModules = {Module::kGate, Module::kUp};
constexpr std::array kDownModules = {Module::kDown};

void RequireTokens(const ModelConfig& config, std::span<const int32_t> tokens) {
  if (tokens.size() < 2) {
    throw Error({.function = "LayerRunner",
                 .problem = std::to_string(tokens.size()) + " calibration tokens",
                 .expected = "at least 2; give more text"});
  }
  for (const int32_t token : tokens) {
    if (token >= 0 && token < config.vocab) continue;
    throw Error({.function = "LayerRunner",
                 .problem = "token " + std::to_string(token),
                 .expected = "0 to " + std::to_string(config.vocab - 1)});
  }
}

// Slope of the activation at z, by central difference.
std::vector<float> Slopes(Activation kind, std::span<const float> z) {
  constexpr float kStep = 1e-2f;
  std::vector<float> above(z.begin(), z.end()), below(z.begin(), z.end());
  for (float& value : above) value += kStep;
  for (float& value : below) value -= kStep;
  const auto count = static_cast<int64_t>(z.size());
  Activate(kind, above.data(), count);
  Activate(kind, below.data(), count);
  for (size_t i = 0; i < z.size(); ++i) above[i] = (above[i] - below[i]) / (2 * kStep);
  return above;
}

// Mean over rows of (a ⊙ b)², each column times `column_energy`.
std::vector<double> MeanSquares(std::span<const float> a, std::span<const float> b,
                                std::span<const double> column_energy) {
  const size_t width = column_energy.size();
  std::vector<double> mean(width);
  for (size_t i = 0; i < a.size(); ++i) {
    const double product = double{a[i]} * (b.empty() ? 1 : b[i]);
    mean[i % width] += product * product;
  }
  const double rows = static_cast<double>(a.size()) / static_cast<double>(width);
  for (size_t j = 0; j < width; ++j) mean[j] *= column_energy[j] / rows;
  return mean;
}

// Σ over rows of w², [width].
std::vector<double> ColumnEnergy(std::span<const float> w, int64_t width) {
  std::vector<double> energy(static_cast<size_t>(width));
  for (size_t i = 0; i < w.size(); ++i) energy[i % energy.size()] += double{w[i]} * w[i];
  return energy;
}

}  // namespace

std::span<const Module> ModulesAt(TapPoint point) {
  switch (point) {
    case TapPoint::kAttnInput:
      return kAttnModules;
    case TapPoint::kOInput:
      return kOModules;
    case TapPoint::kFfnInput:
      return kFfnModules;
    case TapPoint::kDownInput:
      return kDownModules;
  }
  return {};
}

TapPoint TapOf(Module linear) {
  for (const TapPoint point : {TapPoint::kAttnInput, TapPoint::kOInput, TapPoint::kFfnInput}) {
    const auto modules = ModulesAt(point);
    if (std::find(modules.begin(), modules.end(), linear) != modules.end()) return point;
  }
  return TapPoint::kDownInput;
}

void DenseLayer::SetLinear(Module m, const Tensor& weight) {
  const auto i = static_cast<size_t>(m);
  linears_[i] = PackedMatrix(weight, DType::kF32);
  use_.linears[i].weight = &linears_[i];
}

void DenseLayer::SetBias(Module m, std::vector<float> bias) {
  const auto i = static_cast<size_t>(m);
  biases_[i] = std::move(bias);
  if (IsLinear(m)) {
    use_.linears[i].bias = biases_[i].data();
  } else {
    use_.norms[i - kLinearCount].bias = biases_[i].data();
  }
}

void DenseLayer::SetGain(Module m, std::vector<float> gain) {
  const auto i = static_cast<size_t>(m);
  gains_[i] = std::move(gain);
  use_.norms[i - kLinearCount].gain = gains_[i].data();
}

void DenseLayer::SetPrefix(PrefixVectors prefix) {
  prefix_ = std::move(prefix);
  use_.prefix = prefix_->use();
}

void DenseLayer::SetPatch(const Tensor& patch) {
  patch_ = PackedMatrix(patch, DType::kF32);
  use_.patch = &patch_;
}

void LoadSourceNorms(const Model& model, const SharingPlan& plan, int depth, DenseLayer& layer) {
  const SourceLayers source(model, plan);
  for (const Module m : kAllModules) {
    if (!model.config.HasModule(m) || plan[m].blocks[0] == kAbsorbed) continue;
    if (!IsLinear(m)) layer.SetGain(m, source.Weight(m, depth));
    if (model.config.HasBias(m)) layer.SetBias(m, source.Bias(m, depth));
  }
  if (model.plan.HasPatch(depth)) layer.SetPatch(model.weights.Get(PatchTensor(depth)));
  if (model.plan.prefix == 0) return;
  layer.SetPrefix(PrefixVectors(model.config, model.plan, model.weights, depth));
}

void LoadSourceLayer(const Model& model, const SharingPlan& plan, int depth, DenseLayer& layer,
                     ThreadPool& pool) {
  const SourceLayers source(model, plan);
  LoadSourceNorms(model, plan, depth, layer);
  pool.ParallelFor(kLinearCount, [&](int64_t i) {
    const Module m = kAllModules[static_cast<size_t>(i)];
    if (!model.config.HasModule(m)) return;
    const Shape shape = model.plan.MatrixShape(model.config, m, depth);
    layer.SetLinear(m, Tensor::FromF32(shape, source.Weight(m, depth)));
  });
}

LayerRunner::LayerRunner(const ModelConfig& config, std::span<const int32_t> tokens, int context,
                         int64_t max_tokens, ThreadPool& pool)
    : config_(config), pool_(pool) {
  RequireTokens(config, tokens);
  if (context < 2 || max_tokens < 0) {
    throw Error({.function = "LayerRunner",
                 .problem = "context " + std::to_string(context) + ", max_tokens " +
                            std::to_string(max_tokens),
                 .expected = "a context of at least 2 tokens"});
  }
  const auto total = static_cast<int64_t>(tokens.size());
  const int64_t used = max_tokens > 0 ? std::min(total, max_tokens) : total;
  int64_t length = std::min<int64_t>(context, used);
  if (config.max_positions > 0) length = std::min<int64_t>(length, config.max_positions);
  context_ = static_cast<int>(length);
  const int64_t count = used / length;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t start = count == 1 ? 0 : i * (total - length) / (count - 1);
    const auto sequence = tokens.subspan(static_cast<size_t>(start), static_cast<size_t>(length));
    tokens_.insert(tokens_.end(), sequence.begin(), sequence.end());
  }
  MakeSpans(count);
}

LayerRunner::LayerRunner(const ModelConfig& config, std::vector<float> rows, int context,
                         ThreadPool& pool)
    : config_(config), pool_(pool), context_(context), rows_(std::move(rows)) {
  const auto fail = [](std::string problem, std::string expected) {
    throw Error({.function = "LayerRunner",
                 .problem = std::move(problem),
                 .expected = std::move(expected)});
  };
  if (config.causal || config.conv_kernel > 0) {
    fail(config.causal ? "a decoder" : "Conformer layers", "an encoder of plain layers");
  }
  const int64_t count = context < 2 ? 0 : std::ssize(rows_) / config.d_model / context;
  if (count == 0 || count * context * config.d_model != std::ssize(rows_)) {
    fail(std::to_string(rows_.size()) + " values in sequences of " + std::to_string(context),
         "whole sequences of at least 2 rows");
  }
  MakeSpans(count);
}

void LayerRunner::MakeSpans(int64_t count) {
  const ModelConfig& config = config_;
  const auto page_pool =
      std::make_shared<KvPagePool>(LayoutOfKv(config, KvType::kF32), 1, count * PagesFor(context_));
  sequences_.reserve(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) {
    sequences_.emplace_back(page_pool).Reserve(0, context_);
    LayerSpan& span = spans_.emplace_back();
    span = {.layer = nullptr,
            .depth = 0,
            .kv = sequences_.back().At(0),
            .first_position = 0,
            .count = context_,
            .text_length = context_};
    if (!config.causal) span.keys = {0, context_};
  }
  rope_ = Rope(config, false);
  local_rope_ = Rope(config, true);
}

std::vector<float> LayerRunner::Embed(const Model& model) const {
  if (!rows_.empty()) return rows_;
  const Tensor& embedding = model.weights.Get("embed.weight");
  const int64_t d = config_.d_model;
  std::vector<float> hidden(tokens_.size() * static_cast<size_t>(d));
  std::vector<float> position(static_cast<size_t>(d));
  for (size_t i = 0; i < tokens_.size(); ++i) {
    float* row = hidden.data() + i * static_cast<size_t>(d);
    RowToF32(embedding, tokens_[i], row);
    if (config_.embed_scale != 1) Scale(row, config_.embed_scale, d);
    if (config_.positions != PositionKind::kLearned) continue;
    RowToF32(model.weights.Get("positions.weight"), static_cast<int64_t>(i) % context_,
             position.data());
    AddTo(row, position.data(), d);
  }
  return hidden;
}

void LayerRunner::Run(const DenseLayer& layer, int depth, std::vector<float>& hidden,
                      const Tap& tap) {
  for (LayerSpan& span : spans_) {
    span.layer = &layer.use();
    span.depth = depth;
  }
  RunLayer({.config = config_,
            .rope = rope_,
            .local_rope = local_rope_,
            .tap = tap,
            .space = space_,
            .pool = pool_},
           spans_, hidden.data());
}

std::map<Module, std::vector<double>> FfnOutputWeights(const ModelConfig& config,
                                                       const LayerUse& layer,
                                                       std::span<const float> down, const float* x,
                                                       int64_t rows, ThreadPool& pool) {
  const int64_t width = layer.linear(Module::kUp).weight->out();
  const std::vector<double> energy = ColumnEnergy(down, width);
  std::vector<float> up(static_cast<size_t>(rows * width)), gate;
  RunLinear(layer.linear(Module::kUp), x, rows, up.data(), pool);
  if (!config.gated_ffn) {
    return {{Module::kUp, MeanSquares(Slopes(config.activation, up), {}, energy)}};
  }
  gate.resize(up.size());
  RunLinear(layer.linear(Module::kGate), x, rows, gate.data(), pool);
  std::map<Module, std::vector<double>> weights;
  weights[Module::kGate] = MeanSquares(Slopes(config.activation, gate), up, energy);
  Activate(config.activation, gate.data(), static_cast<int64_t>(gate.size()));
  weights[Module::kUp] = MeanSquares(gate, {}, energy);
  return weights;
}

std::vector<double> ValueOutputWeights(const ModelConfig& config, std::span<const float> o) {
  const int64_t head_dim = config.head_dim, group = config.heads / config.kv_heads;
  const std::vector<double> energy = ColumnEnergy(o, config.heads * head_dim);
  std::vector<double> weights(static_cast<size_t>(config.kv_heads * head_dim));
  for (size_t column = 0; column < energy.size(); ++column) {
    const auto head = static_cast<int64_t>(column) / head_dim;
    const auto element = static_cast<int64_t>(column) % head_dim;
    weights[static_cast<size_t>(head / group * head_dim + element)] += energy[column];
  }
  return weights;
}

}  // namespace rondo
