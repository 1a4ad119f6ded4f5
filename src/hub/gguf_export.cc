#include <algorithm>
#include <cmath>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "formats/gguf.h"
#include "hub/gguf_arch.h"
#include "hub/gguf_export_config.h"
#include "hub/gguf_rope.h"
#include "rondo/error.h"
#include "rondo/export.h"
#include "text/gguf_vocab.h"

namespace rondo {
namespace {

[[noreturn]] void Fail(std::string problem, std::string expected, std::string field) {
  throw Error({.function = "ExportGguf",
               .problem = std::move(problem),
               .expected = std::move(expected),
               .file = {},
               .field = std::move(field)});
}

// Every depth has tensors of its own and nothing else, except that norms may be absorbed.
void RequirePlain(const Model& model) {
  for (const Module m : kAllModules) {
    const ModulePlan& plan = model.plan[m];
    bool plain = plan.residual == ResidualKind::kNone;
    for (size_t depth = 0; depth < plan.blocks.size(); ++depth) {
      plain = plain &&
              (plan.blocks[depth] == static_cast<int>(depth) || plan.blocks[depth] == kAbsorbed);
    }
    if (!plain) Fail("shares layers", "an unrolled model", std::string(Name(m)));
  }
}

Tensor Constant(int64_t size, float value) {
  return Tensor::FromF32({size}, std::vector<float>(static_cast<size_t>(size), value));
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

// Brings canonical tensors into the names, orders and types of an architecture.
class TensorWriter {
 public:
  TensorWriter(const Model& model, const GgufArch& arch, DType store, GgufWriter* writer)
      : model_(model),
        config_(model.config),
        arch_(arch),
        store_(store),
        writer_(writer),
        query_factor_(config_.attn_scale / GgufAttentionScale(arch, config_)) {
    if (std::abs(query_factor_ - 1) < 1e-6f) query_factor_ = 1;  // rounding of 1/sqrt
  }

  void Write();

 private:
  void Add(std::string_view name, Tensor tensor) {
    const bool matrix = tensor.shape().size() > 1 && name != kGgufPositions;
    writer_->AddTensor(std::string(name), Cast(tensor, matrix ? store_ : DType::kF32));
  }
  // A weight in the file's row order; `scaled` by what llama.cpp does not know about attention.
  Tensor Prepared(Module m, Tensor tensor) const;
  Tensor Weight(int depth, Module m) const;
  Tensor Bias(int depth, Module m) const;
  bool WritesBias(Module m) const;
  void AddLayer(int depth);

  const Model& model_;
  const ModelConfig& config_;
  const GgufArch& arch_;
  const DType store_;
  GgufWriter* const writer_;
  float query_factor_;  // attention scale of the model over that of llama.cpp
};

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
  if (model_.plan[m].blocks[static_cast<size_t>(depth)] == kAbsorbed) {
    return Constant(config_.ModuleShape(m)[0], 1);
  }
  return Prepared(m, model_.weights.Get(BlockTensor(depth, m)));
}

Tensor TensorWriter::Bias(int depth, Module m) const {
  const ModulePlan& plan = model_.plan[m];
  const bool absorbed = plan.blocks[static_cast<size_t>(depth)] == kAbsorbed;
  if (absorbed || !config_.HasBias(m)) return Constant(config_.ModuleShape(m)[0], 0);
  const std::string name =
      plan.own_bias ? ResidualTensor(depth, m, "bias") : BlockTensor(depth, m, "bias");
  return Prepared(m, Cast(model_.weights.Get(name), DType::kF32));
}

// llama.cpp requires all biases in the LayerNorm families; a missing one is written as zeros.
bool TensorWriter::WritesBias(Module m) const {
  return config_.HasBias(m) || (arch_.norm == NormKind::kLayer && config_.HasModule(m));
}

void TensorWriter::AddLayer(int depth) {
  std::vector<Tensor> qkv, qkv_bias;
  for (const Module m : kAllModules) {
    if (!config_.HasModule(m)) continue;
    if (arch_.fused_qkv && (m == Module::kQ || m == Module::kK || m == Module::kV)) {
      qkv.push_back(Cast(Weight(depth, m), store_));
      qkv_bias.push_back(Bias(depth, m));
      continue;
    }
    Add(GgufTensorName(depth, m), Weight(depth, m));
    if (WritesBias(m)) Add(GgufTensorName(depth, m, "bias"), Bias(depth, m));
  }
  if (!arch_.fused_qkv) return;
  Add(GgufFusedQkvName(depth), Stack(qkv));
  Add(GgufFusedQkvName(depth, "bias"), Stack(qkv_bias));
}

void TensorWriter::Write() {
  const Weights& weights = model_.weights;
  const Tensor& embedding = weights.Get("embed.weight");
  Add(kGgufEmbedding, embedding);
  if (config_.positions == PositionKind::kLearned) {
    Add(kGgufPositions, weights.Get("positions.weight"));
  }
  if (config_.rope_scaling.kind == RopeScalingKind::kLlama3) {
    const auto factors =
        Llama3Factors(config_.rope_scaling, config_.rotary_dim, config_.rope_theta);
    Add(kGgufRopeFactors, Tensor::FromF32({config_.rotary_dim / 2}, factors));
  }
  for (int depth = 0; depth < config_.layers; ++depth) AddLayer(depth);
  Add(kGgufFinalNorm, weights.Get("final_norm.weight"));
  if (config_.norm == NormKind::kLayer) {
    Add(kGgufFinalNormBias, weights.Get("final_norm.bias"));
  }
  // llama.cpp knows no tied head in this one architecture.
  const bool copies_embedding = config_.tied_embeddings && arch_.name == "gptneox";
  if (copies_embedding) Add(kGgufHead, embedding);
  if (!config_.tied_embeddings) Add(kGgufHead, weights.Get("head.weight"));
  if (config_.head_bias) Add(kGgufHeadBias, weights.Get("head.bias"));
}

void SetTokenizer(const Model& model, GgufWriter* writer) {
  if (model.path.empty()) return;  // made in memory
  SetGgufTokenizer(model.path, *writer, model.config.vocab);
  const auto* tokens = writer->Find<std::vector<std::string>>("tokenizer.ggml.tokens");
  if (tokens != nullptr && tokens->size() != static_cast<size_t>(model.config.vocab)) {
    Fail(std::to_string(tokens->size()) + " tokens in the tokenizer",
         "at most the " + std::to_string(model.config.vocab) + " rows of the embedding", "vocab");
  }
}

// The model's own ids; the tokenizer may know fewer ends, or none.
void SetSpecialTokens(const ModelConfig& config, GgufWriter* writer) {
  const auto set = [&](const char* key, int token) {
    writer->SetU32(key, static_cast<uint32_t>(token));
  };
  if (config.bos_token >= 0) set("tokenizer.ggml.bos_token_id", config.bos_token);
  constexpr const char* kEnds[] = {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                                   "tokenizer.ggml.eom_token_id"};
  const size_t count = std::min(config.eos_tokens.size(), std::size(kEnds));
  for (size_t i = 0; i < count; ++i) set(kEnds[i], config.eos_tokens[i]);
}

uint32_t FileTypeOf(DType store) {  // llama.cpp's number of "all f32" or "mostly f16, bf16"
  if (store == DType::kF32) return 0;
  return store == DType::kF16 ? 1 : 32;
}

}  // namespace

void ExportGguf(const Model& model, const std::string& file, DType store) {
  if (IsQuantized(store)) {
    Fail("cannot store as " + std::string(Info(store).name), "f32, f16 or bf16", "store");
  }
  RequirePlain(model);
  const GgufArch& arch = GgufArchOfFamily(model.config.family);
  CheckGgufCanExpress(model.config, arch);
  GgufWriter writer;
  writer.SetString("general.architecture", std::string(arch.name));
  writer.SetString("general.type", "model");
  const std::string name = std::filesystem::path(model.path).stem().string();
  if (!name.empty()) writer.SetString("general.name", name);
  writer.SetU32("general.file_type", FileTypeOf(store));
  SetGgufConfig(model.config, arch, &writer);
  SetTokenizer(model, &writer);
  SetSpecialTokens(model.config, &writer);
  TensorWriter(model, arch, store, &writer).Write();
  writer.Write(file);
}

}  // namespace rondo
