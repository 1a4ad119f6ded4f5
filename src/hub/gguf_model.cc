#include "hub/gguf_model.h"

#include <numeric>
#include <set>
#include <span>
#include <utility>
#include <vector>

#include "formats/gguf.h"
#include "hub/gguf_arch.h"
#include "hub/gguf_config.h"
#include "hub/gguf_native.h"
#include "hub/gguf_rope.h"
#include "rondo/error.h"

namespace rondo {
namespace {

// Moves the tensors of a file into canonical names and orders; remembers which it has used.
class WeightReader {
 public:
  WeightReader(const GgufFile& file, const GgufArch& arch, const ModelConfig& config)
      : file_(file),
        arch_(arch),
        config_(config),
        q_order_(ToHalfSplit(config.heads, config.head_dim)),
        k_order_(ToHalfSplit(config.kv_heads, config.head_dim)) {}

  Weights Read();

 private:
  const Tensor& Take(std::string_view name, const Shape& shape);
  void AddLayer(int depth);
  void AddFusedQkv(int depth);
  void AddModule(int depth, Module m);
  // q and k of architecture llama; the order is empty for all else.
  std::span<const int64_t> OrderOf(Module m) const;
  void RefuseUnusedTensors() const;

  const GgufFile& file_;
  const GgufArch& arch_;
  const ModelConfig& config_;
  const std::vector<int64_t> q_order_, k_order_;
  Weights weights_;
  std::set<std::string, std::less<>> used_;
};

const Tensor& WeightReader::Take(std::string_view name, const Shape& shape) {
  const auto fail = [&](std::string problem) {
    throw Error({.function = "LoadGgufModel",
                 .problem = std::move(problem),
                 .expected = "shape " + ToString(shape),
                 .file = file_.path(),
                 .field = std::string(name)});
  };
  const auto found = file_.tensors().find(name);
  if (found == file_.tensors().end()) fail("missing tensor");
  if (found->second.shape() != shape) fail("shape " + ToString(found->second.shape()));
  used_.emplace(name);
  return found->second;
}

std::span<const int64_t> WeightReader::OrderOf(Module m) const {
  if (!arch_.interleaved_rope) return {};
  if (m == Module::kQ) return q_order_;
  if (m == Module::kK) return k_order_;
  return {};
}

void WeightReader::AddModule(int depth, Module m) {
  const Shape shape = config_.ModuleShape(m);
  const std::span<const int64_t> order = OrderOf(m);
  const auto add = [&](std::string_view part, Tensor tensor) {
    if (tensor.shape().size() == 1) tensor = Cast(tensor, DType::kF32);
    if (!order.empty()) tensor = Reorder(tensor, order);
    weights_.Set(BlockTensor(depth, m, part), std::move(tensor));
  };
  add("weight", Take(GgufTensorName(depth, m), shape));
  if (config_.HasBias(m)) add("bias", Take(GgufTensorName(depth, m, "bias"), {shape[0]}));
}

// Rows of q, k and v one after the other.
void WeightReader::AddFusedQkv(int depth) {
  const int64_t q = config_.ModuleShape(Module::kQ)[0];
  const int64_t kv = config_.ModuleShape(Module::kK)[0];
  const auto split = [&](std::string_view part, const Tensor& fused) {
    int64_t begin = 0;
    for (const auto& [m, rows] : {std::pair{Module::kQ, q}, {Module::kK, kv}, {Module::kV, kv}}) {
      std::vector<int64_t> order(static_cast<size_t>(rows));
      std::iota(order.begin(), order.end(), begin);
      weights_.Set(BlockTensor(depth, m, part), Reorder(fused, order));
      begin += rows;
    }
  };
  split("weight", Take(GgufFusedQkvName(depth), {q + 2 * kv, config_.d_model}));
  if (config_.qkv_bias) split("bias", Take(GgufFusedQkvName(depth, "bias"), {q + 2 * kv}));
}

void WeightReader::AddLayer(int depth) {
  if (arch_.fused_qkv) AddFusedQkv(depth);
  for (const Module m : kAllModules) {
    const bool in_qkv = m == Module::kQ || m == Module::kK || m == Module::kV;
    if (config_.HasModule(m) && !(arch_.fused_qkv && in_qkv)) AddModule(depth, m);
  }
}

void WeightReader::RefuseUnusedTensors() const {
  for (const auto& [name, tensor] : file_.tensors()) {
    // ConfigFromGguf made sense of these: rope factors, and a head that repeats the embedding.
    const bool in_config = name == kGgufRopeFactors || name == kGgufShortFactors ||
                           name == kGgufLongFactors || name == kGgufHead;
    if (used_.contains(name) || in_config) continue;
    throw Error({.function = "LoadGgufModel",
                 .problem = "tensor that architecture '" + std::string(arch_.name) +
                            "' is not known to use",
                 .expected = "only known tensors, lest the model be computed wrongly",
                 .file = file_.path(),
                 .field = name});
  }
}

Weights WeightReader::Read() {
  const int64_t d = config_.d_model;
  weights_.Set("embed.weight", Take(kGgufEmbedding, {config_.vocab, d}));
  if (config_.positions == PositionKind::kLearned) {
    weights_.Set("positions.weight", Take(kGgufPositions, {config_.max_positions, d}));
  }
  for (int depth = 0; depth < config_.layers; ++depth) AddLayer(depth);
  weights_.Set("final_norm.weight", Cast(Take(kGgufFinalNorm, {d}), DType::kF32));
  if (config_.norm == NormKind::kLayer) {
    weights_.Set("final_norm.bias", Cast(Take(kGgufFinalNormBias, {d}), DType::kF32));
  }
  if (!config_.tied_embeddings) weights_.Set("head.weight", Take(kGgufHead, {config_.vocab, d}));
  if (config_.head_bias) {
    weights_.Set("head.bias", Cast(Take(kGgufHeadBias, {config_.vocab}), DType::kF32));
  }
  RefuseUnusedTensors();
  return std::move(weights_);
}

}  // namespace

Model LoadGgufModel(const std::string& path, LoadParts parts) {
  const GgufFile file = GgufFile::Open(path);
  const std::string& architecture = file.String("general.architecture");
  if (file.String("general.type", "model") == "adapter") {
    throw Error(
        {.function = "LoadGgufModel",
         .problem = "an adapter for a model of architecture " + architecture + ", not a model",
         .expected = "the model that it was trained on, and this with --adapter",
         .file = path,
         .field = "general.type"});
  }
  if (architecture == kNativeGgufArch) return LoadNativeGguf(file, parts);
  const GgufArch& arch = GgufArchOf(architecture, path);
  Model model;
  model.path = path;
  model.config = ConfigFromGguf(file, arch);
  model.plan = IdentityPlan(model.config);
  if (parts == LoadParts::kConfig) return model;
  model.weights = WeightReader(file, arch, model.config).Read();
  CheckWeights(model.config, model.plan, model.weights, path);
  return model;
}

}  // namespace rondo
