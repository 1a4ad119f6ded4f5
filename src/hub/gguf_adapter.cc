// Adapters in the GGUF files of llama.cpp's convert_lora_to_gguf.py.
#include <numeric>
#include <set>
#include <utility>

#include "formats/gguf.h"
#include "hub/adapter.h"
#include "hub/gguf_arch.h"
#include "hub/gguf_rope.h"
#include "hub/hf_layout.h"
#include "rondo/error.h"

namespace rondo {
namespace {

class Reader {
 public:
  Reader(const GgufFile& file, const ModelConfig& config)
      : file_(file), config_(config), arch_(GgufArchOfFamily(config.family)) {}

  Adapter Read() {
    Require("general.type", "adapter");
    Require("adapter.type", "lora");
    Require("general.architecture", std::string(arch_.name));
    alpha_ = static_cast<float>(file_.Float("adapter.lora.alpha"));
    for (int depth = 0; depth < config_.layers; ++depth) AddLayer(depth);
    AddPlain(std::string(kGgufHead), "head.weight");
    AddEmbedding();
    for (const auto& [name, tensor] : file_.tensors()) {
      if (!used_.contains(name)) Fail(name, "tensor of no matrix of the base model", "its adapter");
    }
    return std::move(adapter_);
  }

 private:
  [[noreturn]] void Fail(const std::string& field, std::string problem,
                         std::string expected) const {
    throw Error({.function = "MergeAdapter",
                 .problem = std::move(problem),
                 .expected = std::move(expected),
                 .file = file_.path(),
                 .field = field});
  }
  void Require(const char* key, const std::string& value) const {
    const std::string& got = file_.String(key);
    if (got != value) Fail(key, "'" + got + "'", "'" + value + "', that of the base model");
  }

  // Both factors of a tensor as f32; false if there are none.
  bool Take(const std::string& name, Tensor* a, Tensor* b) {
    const auto& tensors = file_.tensors();
    const auto found_a = tensors.find(name + ".lora_a"), found_b = tensors.find(name + ".lora_b");
    if (found_a == tensors.end() && found_b == tensors.end()) return false;
    if (found_a == tensors.end() || found_b == tensors.end()) {
      Fail(name, "one factor without the other", "lora_a and lora_b");
    }
    used_.insert({found_a->first, found_b->first});
    *a = Cast(found_a->second, DType::kF32);
    *b = Cast(found_b->second, DType::kF32);
    return true;
  }

  void Add(std::string canonical, const Tensor& a, const Tensor& b, int64_t rank) {
    const float scale = alpha_ == 0 ? 1 : alpha_ / static_cast<float>(rank);
    adapter_.factors.push_back(
        {.name = std::move(canonical), .a = a, .b = b, .scale = scale, .magnitude = {}});
  }

  void AddPlain(const std::string& name, const std::string& canonical,
                const std::vector<int64_t>& order = {}) {
    Tensor a, b;
    if (!Take(name, &a, &b)) return;
    if (!order.empty() && b.rows() != static_cast<int64_t>(order.size())) {
      Fail(name, std::to_string(b.rows()) + " outputs", std::to_string(order.size()));
    }
    Add(canonical, a, order.empty() ? b : GatherRows(b, order), a.rows());
  }

  void AddLayer(int depth) {
    for (const Module m : kAllModules) {
      if (!config_.HasModule(m) || !IsLinear(m)) continue;
      std::vector<int64_t> order;
      if (arch_.interleaved_rope && (m == Module::kQ || m == Module::kK)) {
        order = ToHalfSplit(m == Module::kQ ? config_.heads : config_.kv_heads, config_.head_dim);
      }
      AddPlain(GgufTensorName(depth, m), BlockTensor(depth, m), order);
    }
    if (arch_.fused_qkv) AddFused(depth);
  }

  // Rows of q, k and v one after the other.
  void AddFused(int depth) {
    Tensor a, b;
    const std::string name = GgufFusedQkvName(depth);
    if (!Take(name, &a, &b)) return;
    int64_t begin = 0;
    for (const Module m : {Module::kQ, Module::kK, Module::kV}) {
      const int64_t rows = config_.ModuleShape(m)[0];
      if (begin + rows > b.rows()) Fail(name, ToString(b.shape()), "rows for q, k and v");
      Add(BlockTensor(depth, m), a, SliceRows(b, begin, rows), a.rows());
      begin += rows;
    }
  }

  // Its factors are the other way round: [vocab, rank] and [d_model, rank].
  void AddEmbedding() {
    Tensor a, b;
    if (!Take(std::string(kGgufEmbedding), &a, &b)) return;
    Add("embed.weight", Transpose(b), a, a.cols());
  }

  const GgufFile& file_;
  const ModelConfig& config_;
  const GgufArch& arch_;
  float alpha_ = 0;
  std::set<std::string> used_;
  Adapter adapter_;
};

}  // namespace

Adapter ReadGgufAdapter(const std::string& path, const ModelConfig& config) {
  const GgufFile file = GgufFile::Open(path);
  return Reader(file, config).Read();
}

}  // namespace rondo
