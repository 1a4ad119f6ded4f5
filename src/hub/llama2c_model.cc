#include "hub/llama2c_model.h"

#include <array>
#include <cmath>
#include <cstring>
#include <functional>
#include <memory>
#include <span>
#include <utility>

#include "base/file.h"
#include "hub/gguf_rope.h"
#include "rondo/error.h"

namespace rondo {
namespace {

constexpr size_t kHeaderFields = 7;
constexpr size_t kHeaderBytes = kHeaderFields * sizeof(int32_t);
// First word of the later versions of the format ("ak42").
constexpr int32_t kVersionedMagic = 0x616b3432;

[[noreturn]] void Fail(const std::string& file, std::string field, std::string problem,
                       std::string expected) {
  throw Error({.function = "LoadLlama2c",
               .problem = std::move(problem),
               .expected = std::move(expected),
               .file = file,
               .field = std::move(field)});
}

ModelConfig ReadConfig(std::span<const std::byte> bytes, const std::string& path) {
  if (bytes.size() < kHeaderBytes) {
    Fail(path, "header", std::to_string(bytes.size()) + " bytes",
         "a header of " + std::to_string(kHeaderBytes) + " bytes");
  }
  std::array<int32_t, kHeaderFields> header;
  std::memcpy(header.data(), bytes.data(), kHeaderBytes);
  if (header[0] == kVersionedMagic) {
    Fail(path, "header", "llama2.c file of version 1 or later", "a version 0 file");
  }
  constexpr std::array<const char*, kHeaderFields> kNames = {
      "dim", "hidden_dim", "n_layers", "n_heads", "n_kv_heads", "vocab_size", "seq_len"};
  constexpr size_t kVocab = 5;  // negative: the head is a matrix of its own
  constexpr int32_t kMax = 1 << 24;
  for (size_t i = 0; i < kHeaderFields; ++i) {
    const int64_t value = i == kVocab ? std::abs(int64_t{header[i]}) : int64_t{header[i]};
    if (value < 1 || value > kMax) {
      Fail(path, kNames[i], "value " + std::to_string(header[i]), "1 to " + std::to_string(kMax));
    }
  }
  if (header[0] % header[3] != 0) {
    Fail(path, "n_heads", "value " + std::to_string(header[3]),
         "a divisor of dim " + std::to_string(header[0]));
  }
  ModelConfig config;
  config.family = "llama";
  config.d_model = header[0];
  config.d_ff = header[1];
  config.layers = header[2];
  config.heads = header[3];
  config.kv_heads = header[4];
  config.vocab = std::abs(header[kVocab]);
  config.tied_embeddings = header[kVocab] > 0;
  config.max_positions = header[6];
  config.head_dim = config.d_model / config.heads;
  config.rotary_dim = config.head_dim;
  config.attn_scale = 1.0f / std::sqrt(static_cast<float>(config.head_dim));
  // Ids of the SentencePiece tokenizers that llama2.c trains; its models end a story with BOS.
  constexpr int kBos = 1, kEos = 2;
  if (config.vocab > kEos) {
    config.bos_token = kBos;
    config.eos_tokens = {kBos, kEos};
  }
  return config;
}

// Cuts the f32 tensors out of the file in their order.
class Cutter {
 public:
  Cutter(std::shared_ptr<const MappedFile> file, const std::string& path)
      : file_(std::move(file)), path_(path), offset_(kHeaderBytes) {}

  // `layers` tensors of one shape, one after the other; skips them without `use`.
  void Cut(int layers, const Shape& shape, const std::function<void(int, Tensor)>& use) {
    const uint64_t size = StorageBytes(DType::kF32, shape);
    for (int layer = 0; layer < layers; ++layer) {
      const uint64_t total = file_->bytes().size();
      if (size > total - offset_) {
        Fail(path_, "length",
             "file ends inside its tensors, after " + std::to_string(total) + " bytes",
             "at least " + std::to_string(offset_ + size) + " bytes");
      }
      const auto bytes = file_->bytes().subspan(offset_, size);
      if (use) use(layer, Tensor(DType::kF32, shape, bytes, file_));
      offset_ += size;
    }
  }
  void CheckEnd() const {
    if (offset_ == file_->bytes().size()) return;
    Fail(path_, "length", std::to_string(file_->bytes().size()) + " bytes",
         std::to_string(offset_) + " bytes, the size of the tensors that the header announces");
  }

 private:
  std::shared_ptr<const MappedFile> file_;
  const std::string& path_;
  uint64_t offset_;
};

Weights ReadWeights(std::shared_ptr<const MappedFile> file, const ModelConfig& config,
                    const std::string& path) {
  Weights weights;
  Cutter cutter(std::move(file), path);
  const auto one = [&](const char* name, const Shape& shape) {
    cutter.Cut(1, shape, [&](int, Tensor tensor) { weights.Set(name, std::move(tensor)); });
  };
  const auto each_layer = [&](Module m) {
    cutter.Cut(config.layers, config.ModuleShape(m), [&](int layer, Tensor tensor) {
      const bool rotates = m == Module::kQ || m == Module::kK;
      const int heads = m == Module::kQ ? config.heads : config.kv_heads;
      if (rotates) tensor = Reorder(tensor, ToHalfSplit(heads, config.head_dim));
      weights.Set(BlockTensor(layer, m), std::move(tensor));
    });
  };
  const Shape embedding = {config.vocab, config.d_model};
  one("embed.weight", embedding);
  for (const Module m : {Module::kAttnNorm, Module::kQ, Module::kK, Module::kV, Module::kO,
                         Module::kFfnNorm, Module::kGate, Module::kDown, Module::kUp}) {
    each_layer(m);
  }
  one("final_norm.weight", {config.d_model});
  // Tables of cosines and sines, [seq_len, head_dim / 2] each, that the reader computes itself.
  cutter.Cut(2, {config.max_positions, config.head_dim / 2}, {});
  if (!config.tied_embeddings) one("head.weight", embedding);
  cutter.CheckEnd();
  return weights;
}

}  // namespace

Model LoadLlama2c(const std::string& path, LoadParts parts) {
  auto file = MappedFile::Open(path);
  Model model;
  model.path = path;
  model.config = ReadConfig(file->bytes(), path);
  try {
    model.config.Validate();
  } catch (const Error& error) {  // add the file's name
    Fail(path, error.info().field, error.info().problem, error.info().expected);
  }
  model.plan = IdentityPlan(model.config);
  Weights weights = ReadWeights(std::move(file), model.config, path);  // checks the length, too
  CheckWeights(model.config, model.plan, weights, path);
  if (parts == LoadParts::kAll) model.weights = std::move(weights);
  return model;
}

}  // namespace rondo
