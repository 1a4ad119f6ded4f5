#include <array>
#include <cmath>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "formats/gguf.h"
#include "hub/gguf_arch.h"
#include "hub/gguf_common.h"
#include "hub/gguf_export_config.h"
#include "hub/gguf_rope.h"
#include "hub/plain_model.h"
#include "rondo/error.h"
#include "rondo/export.h"

namespace rondo {
namespace {

Tensor Zeros(int64_t size) {
  return Tensor::FromF32({size}, std::vector<float>(static_cast<size_t>(size)));
}

Tensor Scaled(const Tensor& tensor, float factor) {
  std::vector<float> values = ToF32(tensor);
  for (float& value : values) value *= factor;
  return Tensor::FromF32(tensor.shape(), std::move(values));
}

// One tensor of the parts' rows (or elements), which have the same type.
Tensor Stack(const std::vector<Tensor>& parts) {
  Shape shape = parts.front().shape();
  shape[0] = 0;
  std::vector<std::byte> bytes;
  for (const Tensor& part : parts) {
    shape[0] += part.shape()[0];
    bytes.insert(bytes.end(), part.bytes().begin(), part.bytes().end());
  }
  return Tensor::FromBytes(parts.front().dtype(), std::move(shape), std::move(bytes));
}

// Brings the canonical tensors of a plain model into the names, orders and types of an
// architecture. Tensors are made when the file is written, so model and TensorWriter must live
// until then.
class TensorWriter {
 public:
  TensorWriter(const Model& model, const GgufArch& arch, const TensorTypes& types, ThreadPool& pool,
               GgufWriter* writer)
      : model_(model),
        config_(model.config),
        arch_(arch),
        types_(types),
        pool_(pool),
        writer_(writer),
        query_factor_(config_.attn_scale / GgufAttentionScale(arch, config_)) {
    if (std::abs(query_factor_ - 1) < 1e-6f) query_factor_ = 1;  // rounding of 1/sqrt
  }

  void AddAll();

 private:
  void Add(std::string_view name, DType dtype, Shape shape, std::function<Tensor()> make) {
    writer_->AddTensor(
        {std::string(name), dtype, std::move(shape),
         [this, dtype, make = std::move(make)] { return Cast(make(), dtype, &pool_); }});
  }
  // A tensor as the model has it.
  void AddStored(std::string_view name, const std::string& canonical) {
    const Tensor& tensor = model_.weights.Get(canonical);
    Add(name, types_.at(canonical), tensor.shape(), [&tensor] { return tensor; });
  }
  void AddFusedQkv(int depth);
  void AddLayer(int depth);
  DType TypeOf(int depth, Module m) const;
  // A weight in the file's row order; `scaled` by what llama.cpp does not know about attention.
  Tensor Prepared(Module m, Tensor tensor) const;
  Tensor Weight(int depth, Module m) const;
  Tensor Bias(int depth, Module m) const;
  bool WritesBias(Module m) const;

  const Model& model_;
  const ModelConfig& config_;
  const GgufArch& arch_;
  const TensorTypes& types_;
  ThreadPool& pool_;
  GgufWriter* const writer_;
  float query_factor_;  // attention scale of the model over that of llama.cpp
};

DType TensorWriter::TypeOf(int depth, Module m) const {
  const auto found = types_.find(BlockTensor(depth, m));
  return found == types_.end() ? DType::kF32 : found->second;  // absorbed norms have no tensor
}

Tensor TensorWriter::Prepared(Module m, Tensor tensor) const {
  const bool scales = m == (config_.qk_norm ? Module::kQNorm : Module::kQ);
  if (scales && query_factor_ != 1) tensor = Scaled(tensor, query_factor_);
  if (arch_.interleaved_rope && (m == Module::kQ || m == Module::kK)) {
    const int heads = m == Module::kQ ? config_.heads : config_.kv_heads;
    tensor = Reorder(tensor, ToInterleaved(heads, config_.head_dim));
  }
  return tensor;
}

Tensor TensorWriter::Weight(int depth, Module m) const {
  return Prepared(m, model_.weights.Get(BlockTensor(depth, m)));
}

Tensor TensorWriter::Bias(int depth, Module m) const {
  if (!config_.HasBias(m)) return Zeros(config_.ModuleShape(m)[0]);
  return Prepared(m, Cast(model_.weights.Get(BlockTensor(depth, m, "bias")), DType::kF32));
}

// llama.cpp requires all biases in the LayerNorm families; a missing one is written as zeros.
bool TensorWriter::WritesBias(Module m) const {
  return config_.HasBias(m) || (arch_.norm == NormKind::kLayer && config_.HasModule(m));
}

// Rows of q, k and v one after the other, in the type of q.
void TensorWriter::AddFusedQkv(int depth) {
  constexpr std::array kParts = {Module::kQ, Module::kK, Module::kV};
  const DType dtype = TypeOf(depth, Module::kQ);
  Shape shape = {0, config_.d_model};
  for (const Module m : kParts) shape[0] += config_.ModuleShape(m)[0];
  Add(GgufFusedQkvName(depth), dtype, shape, [this, depth, dtype, kParts] {
    std::vector<Tensor> parts;
    for (const Module m : kParts) parts.push_back(Cast(Weight(depth, m), dtype, &pool_));
    return Stack(parts);
  });
  Add(GgufFusedQkvName(depth, "bias"), DType::kF32, {shape[0]}, [this, depth, kParts] {
    std::vector<Tensor> parts;
    for (const Module m : kParts) parts.push_back(Bias(depth, m));
    return Stack(parts);
  });
}

void TensorWriter::AddLayer(int depth) {
  if (arch_.fused_qkv) AddFusedQkv(depth);
  for (const Module m : kAllModules) {
    const bool in_qkv = m == Module::kQ || m == Module::kK || m == Module::kV;
    if (!config_.HasModule(m) || (arch_.fused_qkv && in_qkv)) continue;
    const Shape shape = config_.ModuleShape(m);
    Add(GgufTensorName(depth, m), TypeOf(depth, m), shape,
        [this, depth, m] { return Weight(depth, m); });
    if (!WritesBias(m)) continue;
    Add(GgufTensorName(depth, m, "bias"), DType::kF32, {shape[0]},
        [this, depth, m] { return Bias(depth, m); });
  }
}

void TensorWriter::AddAll() {
  AddStored(kGgufEmbedding, "embed.weight");
  if (config_.positions == PositionKind::kLearned) AddStored(kGgufPositions, "positions.weight");
  if (config_.rope_scaling.kind == RopeScalingKind::kLlama3) {
    const auto factors =
        Llama3Factors(config_.rope_scaling, config_.rotary_dim, config_.rope_theta);
    writer_->AddTensor(std::string(kGgufRopeFactors),
                       Tensor::FromF32({config_.rotary_dim / 2}, factors));
  }
  if (config_.rope_scaling.kind == RopeScalingKind::kLongRope) {
    const Shape shape = {config_.rotary_dim / 2};
    const RopeScaling& scaling = config_.rope_scaling;
    writer_->AddTensor(std::string(kGgufLongFactors),
                       Tensor::FromF32(shape, std::span<const float>(scaling.long_factors)));
    writer_->AddTensor(std::string(kGgufShortFactors),
                       Tensor::FromF32(shape, std::span<const float>(scaling.short_factors)));
  }
  for (int depth = 0; depth < config_.layers; ++depth) AddLayer(depth);
  AddStored(kGgufFinalNorm, "final_norm.weight");
  if (config_.norm == NormKind::kLayer) AddStored(kGgufFinalNormBias, "final_norm.bias");
  // llama.cpp knows no tied head in this one architecture.
  const bool copies_embedding = config_.tied_embeddings && arch_.name == "gptneox";
  if (copies_embedding) AddStored(kGgufHead, "embed.weight");
  if (!config_.tied_embeddings) AddStored(kGgufHead, "head.weight");
  if (config_.head_bias) AddStored(kGgufHeadBias, "head.bias");
}

void CheckOthersRead(const TensorTypes& types, const std::string& file) {
  for (const auto& [tensor, type] : types) {
    if (!OnlyRondoReads(type)) continue;
    throw Error({.function = "ExportGguf",
                 .problem = "type " + std::string(Info(type).name) + ", which only rondo reads",
                 .expected = "a type that llama.cpp knows, of 4 bits or more; or a file for rondo",
                 .file = file,
                 .field = tensor});
  }
}

}  // namespace

TensorTypes UniformTypes(const Model& model, DType store) {
  TensorTypes types;
  for (const TensorSpec& spec : ExpectedTensors(model.config, model.plan)) {
    const bool matrix = spec.shape.size() > 1 && spec.name != "positions.weight";
    types[spec.name] = matrix ? store : DType::kF32;
  }
  return types;
}

void ExportGguf(const Model& model, const std::string& file, const TensorTypes& types,
                ThreadPool& pool, bool quiet, const SaveOptions& options) {
  CheckGgufTarget(file, {.inputs = {model.path}, .force = options.force});
  CheckOthersRead(types, file);
  const Model plain = PlainModel(model);
  const GgufArch& arch = GgufArchOfFamily(model.config.family);
  CheckGgufCanExpress(model.config, arch);
  GgufWriter writer;
  SetGgufGeneral(model, std::string(arch.name), types, &writer);
  SetGgufConfig(model.config, arch, &writer);
  TensorWriter tensors(plain, arch, types, pool, &writer);
  tensors.AddAll();
  writer.Write(file, quiet);
}

}  // namespace rondo
