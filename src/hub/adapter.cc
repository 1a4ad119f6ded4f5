#include "hub/adapter.h"

#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/file.h"
#include "base/json.h"
#include "formats/file_kind.h"
#include "rondo/adapter.h"
#include "rondo/error.h"

namespace rondo {
namespace {

namespace fs = std::filesystem;

constexpr const char* kConfig = "adapter_config.json";

void AddFactors(const LoraFactors& factors, int64_t row, float* weight, float* delta) {
  const int64_t in = factors.a.cols(), rank = factors.a.rows();
  const float* a = factors.a.f32().data();
  const float* b = factors.b.f32().data() + row * rank;
  std::fill_n(delta, in, 0.0f);
  for (int64_t r = 0; r < rank; ++r, a += in) {
    for (int64_t i = 0; i < in; ++i) delta[i] += b[r] * a[i];
  }
  for (int64_t i = 0; i < in; ++i) weight[i] += factors.scale * delta[i];
}

// DoRA: the merged row at the norm that was trained.
void SetNorm(float* weight, int64_t in, float norm) {
  double squares = 0;
  for (int64_t i = 0; i < in; ++i) squares += double{weight[i]} * weight[i];
  const double factor = squares > 0 ? norm / std::sqrt(squares) : 0;
  for (int64_t i = 0; i < in; ++i) weight[i] = static_cast<float>(weight[i] * factor);
}

Tensor Merged(const Tensor& weight, const LoraFactors& factors, ThreadPool& pool) {
  const int64_t in = weight.cols();
  std::vector<float> values(static_cast<size_t>(weight.elements()));
  pool.ParallelRanges(weight.rows(), 1, [&](int64_t begin, int64_t end) {
    std::vector<float> delta(static_cast<size_t>(in));
    for (int64_t row = begin; row < end; ++row) {
      float* out = values.data() + row * in;
      RowToF32(weight, row, out);
      AddFactors(factors, row, out, delta.data());
      if (!factors.magnitude.empty()) {
        SetNorm(out, in, factors.magnitude.f32()[static_cast<size_t>(row)]);
      }
    }
  });
  return Tensor::FromF32(weight.shape(), std::move(values));
}

[[noreturn]] void Fail(const std::string& path, const std::string& field, std::string problem,
                       std::string expected) {
  throw Error({.function = "MergeAdapter",
               .problem = std::move(problem),
               .expected = std::move(expected),
               .file = path,
               .field = field});
}

void Apply(const LoraFactors& factors, const std::string& path, Model* model, ThreadPool& pool) {
  if (factors.name == "head.weight" && model->config.tied_embeddings) {
    model->config.tied_embeddings = false;  // only the head was adapted
    model->weights.Set("head.weight", model->weights.Get("embed.weight"));
  }
  const Tensor& weight = model->weights.Get(factors.name);
  const Shape shape = {factors.b.rows(), factors.a.cols()};
  if (weight.shape() != shape || factors.a.rows() != factors.b.cols()) {
    Fail(path, factors.name,
         "factors " + ToString(factors.b.shape()) + " and " + ToString(factors.a.shape()),
         "a product of shape " + ToString(weight.shape()) + ", that of the base model");
  }
  model->weights.Set(factors.name, Merged(weight, factors, pool));
}

void ApplyWhole(const Weights& whole, const std::string& path, Model* model) {
  const Tensor* head = whole.Find("head.weight");
  const Tensor* embed = whole.Find("embed.weight");
  for (const auto& [name, tensor] : whole) {
    const bool tied_head = name == "head.weight" && model->config.tied_embeddings;
    if (tied_head) {
      const bool same = embed != nullptr && ToF32(*embed) == ToF32(*head);
      if (same) continue;
      model->config.tied_embeddings = false;
    } else if (!model->weights.Has(name)) {
      Fail(path, name, "a tensor that the base model does not have", "an adapter of this model");
    }
    model->weights.Set(name, tensor);
  }
}

std::string BaseOf(const std::string& config_file) {
  const nlohmann::json json = ParseJsonChecked(ReadTextFile(config_file, 1 << 20), config_file);
  JsonObject object(json, "LoadModel", config_file);
  return object.String("base_model_name_or_path", "");
}

// The directory of a PEFT adapter that `path` is, or is a file of; "" if it is none.
std::string AdapterDirectory(const fs::path& path) {
  if (IsDirectory(path)) return PathExists(path / kConfig) ? path.string() : std::string();
  const std::string name = path.filename().string();
  const fs::path parent = fs::absolute(path).parent_path();
  const bool part = name == kConfig || name.starts_with("adapter_model");
  return part && PathExists(parent / kConfig) ? parent.string() : std::string();
}

bool HasModel(const fs::path& directory) {
  return PathExists(directory / "config.json") &&
         (PathExists(directory / "model.safetensors") ||
          PathExists(directory / "model.safetensors.index.json"));
}

}  // namespace

void RefuseAdapter(const std::string& path) {
  const std::string directory = AdapterDirectory(path);
  if (directory.empty() || (IsDirectory(path) && HasModel(path))) return;
  const std::string base = BaseOf((fs::path(directory) / kConfig).string());
  throw Error(
      {.function = "LoadModel",
       .problem = "an adapter" + (base.empty() ? "" : " for '" + base + "'") + ", not a model",
       .expected = "the model that it was trained on, and this with --adapter",
       .file = path,
       .field = {}});
}

void MergeAdapter(const std::string& path, Model* model, ThreadPool& pool) {
  if (!model->plan.IsPlain()) {
    Fail(path, "", "an adapter for a model with shared layers",
         "the model before it was folded: fold it with --adapter");
  }
  if (!PathExists(path)) Fail(path, "", "no such adapter", "a PEFT directory or a GGUF file");
  const bool gguf = IsRegularFile(path) && ContentOf(path).kind == FileKind::kGguf;
  const std::string directory = AdapterDirectory(path);
  if (!gguf && directory.empty()) {
    Fail(path, "", IsDirectory(path) ? std::string("no ") + kConfig + " in it" : "not an adapter",
         "a PEFT directory or a GGUF file");
  }
  const Adapter adapter =
      gguf ? ReadGgufAdapter(path, model->config) : ReadPeftAdapter(directory, model->config);
  ApplyWhole(adapter.whole, path, model);
  for (const LoraFactors& factors : adapter.factors) Apply(factors, path, model, pool);
  CheckWeights(model->config, model->plan, model->weights, path);
}

}  // namespace rondo
