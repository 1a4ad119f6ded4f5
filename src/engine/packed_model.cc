#include "engine/packed_model.h"

#include <utility>

#include "engine/packed_type.h"
#include "kernels/panel_memory.h"
#include "rondo/thread_pool.h"

namespace rondo {
namespace {

PackedMatrix Transposed(const Tensor& matrix, std::optional<DType> type) {
  const std::vector<float> values = ToF32(matrix);
  const auto rows = static_cast<size_t>(matrix.rows()), cols = static_cast<size_t>(matrix.cols());
  std::vector<float> columns(values.size());
  for (size_t i = 0; i < values.size(); ++i) columns[i % cols * rows + i / cols] = values[i];
  const Tensor tensor = Tensor::FromF32({matrix.cols(), matrix.rows()}, std::move(columns));
  // Rounding a quantised matrix once more would make another function of it.
  return PackedMatrix(tensor, type.value_or(DType::kF32));
}

}  // namespace

PackedModel::PackedModel(const Model& model, std::optional<DType> type, ThreadPool& pool) {
  const ModelConfig& config = model.config;
  config.Validate();
  d_model_ = config.d_model;
  model.plan.Validate(config);
  CheckWeights(config, model.plan, model.weights, model.path);

  if (const Tensor* positions = model.weights.Find("positions.weight")) positions_ = *positions;
  PackBlocks(model, type, pool);
  if (config.vocab > 0) {
    const Tensor& embedding = model.weights.Get("embed.weight");
    if (model.plan.embedding_rank > 0) {
      const Tensor& projection = model.weights.Get("embed_projection.weight");
      projection_ = PackedMatrix(projection, PackedType(projection, type));
    }
    // Tied, and packed without loss: rows are read out of the head.
    if (!config.tied_embeddings || !head_.Holds(embedding.dtype())) embedding_ = embedding;
  }
  layers_.resize(static_cast<size_t>(config.layers));
  patches_.reserve(model.plan.patches.size());
  for (const int depth : model.plan.patches) {
    const Tensor& patch = model.weights.Get(PatchTensor(depth));
    patches_.emplace_back(patch, PackedType(patch, type));
    layers_[static_cast<size_t>(depth)].patch = &patches_.back();
  }
  for (int depth = 0; model.plan.prefix > 0 && depth < config.layers; ++depth) {
    prefixes_.emplace_back(config, model.plan, model.weights, depth);
    layers_[static_cast<size_t>(depth)].prefix = prefixes_.back().use();
  }
  for (int depth = 0; depth < config.layers; ++depth) ResolveLayer(model, depth);

  final_norm_.gain = Vector(model.weights, "final_norm.weight");
  if (config.norm == NormKind::kLayer) final_norm_.bias = Vector(model.weights, "final_norm.bias");
  head_use_.weight = &head_;
  if (model.plan.embedding_rank > 0 && config.tied_embeddings) {
    projection_columns_ = Transposed(model.weights.Get("embed_projection.weight"), type);
    head_use_.first = &projection_columns_;
  }
  if (config.head_bias) head_use_.bias = Vector(model.weights, "head.bias");
  const int gates = model.plan.exit_gate ? FindLoops(model.plan).loops - 1 : 0;
  for (int loop = 0; loop < gates; ++loop) {
    exit_gates_.push_back({.weight = Vector(model.weights, ExitGateTensor(loop, "weight")),
                           .bias = Vector(model.weights, ExitGateTensor(loop, "bias"))});
  }
}

// Packing decodes and touches every page of the weights: one task per matrix, all threads busy.
void PackedModel::PackBlocks(const Model& model, std::optional<DType> type, ThreadPool& pool) {
  struct Task {
    Module module;
    int index;  // block, or depth for a residual
    bool residual;
    std::string_view part = "weight";  // of a block
  };
  std::vector<Task> tasks;
  for (size_t i = 0; i < kLinearCount; ++i) {
    const Module m = kAllModules[i];
    const ModulePlan& plan = model.plan[m];
    blocks_[i].resize(static_cast<size_t>(plan.BlockCount()));
    residuals_[i].resize(plan.blocks.size());
    firsts_[i].resize(static_cast<size_t>(plan.BlockCount()));
    for (int block = 0; block < plan.BlockCount(); ++block) {
      if (plan.FactorRank(block) > 0) {
        tasks.push_back({m, block, false, "a"});
        tasks.push_back({m, block, false, "b"});
      } else {
        tasks.push_back({m, block, false});
      }
    }
    for (int depth = 0; depth < static_cast<int>(plan.blocks.size()); ++depth) {
      if (model.plan.HasResidual(m, depth)) tasks.push_back({m, depth, true});
    }
  }
  const auto count = static_cast<int64_t>(tasks.size());
  PanelMemory memory;
  pool.ParallelFor(count + 1, [&](int64_t t) {
    if (t == 0) {
      if (model.config.vocab == 0) return;
      const bool tied = model.config.tied_embeddings;
      const Tensor& head = model.weights.Get(tied ? "embed.weight" : "head.weight");
      head_ = PackedMatrix(head, PackedType(head, type), &memory);
      return;
    }
    const auto [m, index, residual, part] = tasks[static_cast<size_t>(t - 1)];
    const auto i = static_cast<size_t>(m);
    const auto at = static_cast<size_t>(index);
    const ModulePlan& plan = model.plan[m];
    if (!residual) {
      const Tensor& block = model.weights.Get(BlockTensor(index, m, part));
      (part == "a" ? firsts_ : blocks_)[i][at] =
          PackedMatrix(block, PackedType(block, type), &memory);
      return;
    }
    const Tensor shared = BlockMatrix(model.weights, model.plan, m, plan.blocks[at]);
    const int rank = plan.ranks.empty() ? 0 : plan.ranks[at];
    residuals_[i][at] = std::make_unique<Residual>(model.weights, m, index, plan.residual, rank,
                                                   shared, type, memory);
  });
}

void PackedModel::ResolveLayer(const Model& model, int depth) {
  LayerUse& layer = layers_[static_cast<size_t>(depth)];
  for (const Module m : kAllModules) {
    if (!model.config.HasModule(m)) continue;
    if (IsLinear(m)) {
      layer.linears[static_cast<size_t>(m)] = ResolveLinear(model, m, depth);
    } else {
      layer.norms[static_cast<size_t>(m) - kLinearCount] = ResolveNorm(model, m, depth);
    }
  }
}

LinearUse PackedModel::ResolveLinear(const Model& model, Module m, int depth) {
  const auto i = static_cast<size_t>(m);
  const auto at = static_cast<size_t>(depth);
  const auto block = static_cast<size_t>(model.plan[m].blocks[at]);
  return {.weight = &blocks_[i][block],
          .first = firsts_[i][block].out() > 0 ? &firsts_[i][block] : nullptr,
          .bias = Bias(model, m, depth),
          .residual = residuals_[i][at].get(),
          .gain = Gain(model, m, depth)};
}

NormUse PackedModel::ResolveNorm(const Model& model, Module m, int depth) {
  const int block = model.plan[m].blocks[static_cast<size_t>(depth)];
  if (block == kAbsorbed) return {};
  const std::string name = BlockTensor(block, m);
  const float* bias = Bias(model, m, depth);
  if (m == Module::kConvDepth) return {.gain = Columns(model.weights, name), .bias = bias};
  return {.gain = Vector(model.weights, name), .bias = bias};
}

const float* PackedModel::Bias(const Model& model, Module m, int depth) {
  const ModulePlan& plan = model.plan[m];
  if (!model.config.HasBias(m)) return nullptr;
  const int block = plan.blocks[static_cast<size_t>(depth)];
  return Vector(model.weights,
                plan.own_bias ? ResidualTensor(depth, m, "bias") : BlockTensor(block, m, "bias"));
}

std::span<const float> PackedModel::Gain(const Model& model, Module m, int depth) {
  if (model.plan[m].Gain(depth) == GainKind::kNone) return {};
  const std::string name = ResidualTensor(depth, m, "gain");
  const float* values = Vector(model.weights, name);
  return {values, static_cast<size_t>(model.weights.Get(name).elements())};
}

const float* PackedModel::Vector(const Weights& weights, const std::string& name) {
  const auto found = vectors_.find(name);
  if (found != vectors_.end()) return found->second.data();
  return vectors_.emplace(name, ToF32(weights.Get(name))).first->second.data();
}

const float* PackedModel::Columns(const Weights& weights, const std::string& name) {
  const auto found = vectors_.find(name);
  if (found != vectors_.end()) return found->second.data();
  const Tensor& stored = weights.Get(name);
  const std::vector<float> rows = ToF32(stored);
  const auto height = static_cast<size_t>(stored.rows()),
             width = static_cast<size_t>(stored.cols());
  std::vector<float> columns(rows.size());
  for (size_t i = 0; i < rows.size(); ++i) columns[i % width * height + i / width] = rows[i];
  return vectors_.emplace(name, std::move(columns)).first->second.data();
}

void PackedModel::EmbedRows(std::span<const int32_t> tokens, float* out, ThreadPool& pool) const {
  const bool factorised = projection_.out() > 0;
  const auto width = static_cast<size_t>(factorised ? projection_.in() : d_model_);
  std::vector<float> low(factorised ? tokens.size() * width : 0);
  float* rows = factorised ? low.data() : out;
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (embedding_.empty()) {
      head_.RowToF32(tokens[i], rows + i * width);
    } else {
      RowToF32(embedding_, tokens[i], rows + i * width);
    }
  }
  if (!factorised) return;
  MatMul(projection_, rows, static_cast<int64_t>(tokens.size()), out, /*accumulate=*/false, pool);
}

uint64_t PackedModel::bytes() const {
  uint64_t total = embedding_.bytes().size() + positions_.bytes().size() + head_.bytes() +
                   projection_.bytes() + projection_columns_.bytes();
  for (const PackedMatrix& patch : patches_) total += patch.bytes();
  for (const auto& firsts : firsts_) {
    for (const PackedMatrix& first : firsts) total += first.bytes();
  }
  for (const auto& blocks : blocks_) {
    for (const PackedMatrix& block : blocks) total += block.bytes();
  }
  for (const auto& residuals : residuals_) {
    for (const auto& residual : residuals) total += residual ? residual->bytes() : 0;
  }
  for (const PrefixVectors& prefix : prefixes_) total += prefix.bytes();
  for (const auto& [name, values] : vectors_) total += values.size() * sizeof(float);
  return total;
}

}  // namespace rondo
