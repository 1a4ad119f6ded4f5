// Adapters of PEFT's and llama.cpp's form; tests/parity/test_adapters.py compares with PEFT itself.
#include "rondo/adapter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "base/file.h"
#include "base/temp_dir.h"
#include "formats/gguf.h"
#include "formats/safetensors.h"
#include "hub/native_testing.h"
#include "rondo/error.h"

namespace rondo {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::ThrowsMessage;

const char kConfig[] = R"({"peft_type": "LORA", "base_model_name_or_path": "someone/base-1b",
  "r": 1, "lora_alpha": 3, "target_modules": ["q_proj"], "use_rslora": false,
  "rank_pattern": {}, "alpha_pattern": {}, "inference_mode": true, "future_option": null})";

Tensor Column(std::vector<float> values) {
  const auto rows = static_cast<int64_t>(values.size());
  return Tensor::FromF32({rows, 1}, std::move(values));
}

Tensor Row(std::vector<float> values) {
  const auto cols = static_cast<int64_t>(values.size());
  return Tensor::FromF32({1, cols}, std::move(values));
}

using Named = std::vector<std::pair<std::string, Tensor>>;

void WritePeft(const TempDir& dir, const Named& tensors, const std::string& config = kConfig) {
  std::filesystem::create_directories(dir.File("adapter"));
  WriteTextFile(dir.File("adapter/adapter_config.json"), config);
  WriteSafetensors(dir.File("adapter/adapter_model.safetensors"), tensors);
}

constexpr char kQ[] = "base_model.model.model.layers.1.self_attn.q_proj.";
const std::vector<float> kA = {1, 2, 3, 4, 5, 6, 7, 8};
const std::vector<float> kB = {0, 1, 0, 0, 0, 0, 0, 2};

Named QFactors() {
  return {{std::string(kQ) + "lora_A.weight", Row(kA)},
          {std::string(kQ) + "lora_B.weight", Column(kB)}};
}

Model Merge(const TempDir& dir, Model model, const char* name = "adapter") {
  ThreadPool pool(2);
  MergeAdapter(dir.File(name), &model, pool);
  return model;
}

Model Base(const ModelConfig& config = TinyLlamaConfig()) {
  return RuleModel(config, IdentityPlan(config));
}

// W + scale · b · a of the tiny Llama's second q.
std::vector<float> Expected(float scale) {
  std::vector<float> values = ToF32(Base().weights.Get("blocks.1.q.weight"));
  for (size_t out = 0; out < 8; ++out) {
    for (size_t in = 0; in < 8; ++in) values[out * 8 + in] += scale * kB[out] * kA[in];
  }
  return values;
}

TEST(Adapter, ThePairIsScaledByAlphaOverRank) {
  TempDir dir;
  WritePeft(dir, QFactors());
  const Model merged = Merge(dir, Base());
  EXPECT_EQ(ToF32(merged.weights.Get("blocks.1.q.weight")), Expected(3));
  EXPECT_EQ(ToF32(merged.weights.Get("blocks.0.q.weight")),
            ToF32(Base().weights.Get("blocks.0.q.weight")));
}

TEST(Adapter, AModuleMayHaveItsOwnAlpha) {
  TempDir dir;
  std::string config = kConfig;
  config.replace(config.find("\"alpha_pattern\": {}"), 19,
                 R"("alpha_pattern": {"layers.1.self_attn.q_proj": 5})");
  WritePeft(dir, QFactors(), config);
  EXPECT_EQ(ToF32(Merge(dir, Base()).weights.Get("blocks.1.q.weight")), Expected(5));
}

TEST(Adapter, DoraSetsTheNormOfEachRow) {
  TempDir dir;
  Named tensors = QFactors();
  tensors.emplace_back(std::string(kQ) + "lora_magnitude_vector",
                       Tensor::FromF32({8}, std::vector<float>(8, 2.0f)));
  WritePeft(dir, tensors);
  const std::vector<float> values = ToF32(Merge(dir, Base()).weights.Get("blocks.1.q.weight"));
  const std::vector<float> direction = Expected(3);
  double squares = 0;
  for (size_t i = 8; i < 16; ++i) squares += double{direction[i]} * direction[i];
  EXPECT_NEAR(values[9], 2 * direction[9] / std::sqrt(squares), 1e-6);
}

TEST(Adapter, WholeTensorsTakeThePlaceOfTheModels) {
  TempDir dir;
  Named tensors = QFactors();
  tensors.emplace_back("base_model.model.lm_head.weight",
                       Tensor::FromF32({16, 8}, std::vector<float>(128, 7)));
  WritePeft(dir, tensors);
  EXPECT_THAT(ToF32(Merge(dir, Base()).weights.Get("head.weight")), testing::Each(7));
}

TEST(Adapter, FusedAndTransposedMatricesOfGpt2) {
  TempDir dir;
  std::vector<float> b(24, 0.0f);
  b[8 + 3] = 1;   // row 3 of k
  b[16 + 2] = 2;  // row 2 of v
  const std::string module = "base_model.model.transformer.h.1.attn.c_attn.";
  WritePeft(dir, {{module + "lora_A.weight", Row(kA)}, {module + "lora_B.weight", Column(b)}});
  const Model base = Base(TinyGpt2Config()), merged = Merge(dir, base);
  EXPECT_EQ(ToF32(merged.weights.Get("blocks.1.q.weight")),
            ToF32(base.weights.Get("blocks.1.q.weight")));
  EXPECT_EQ(ToF32(merged.weights.Get("blocks.1.k.weight"))[3 * 8 + 1],
            ToF32(base.weights.Get("blocks.1.k.weight"))[3 * 8 + 1] + 3 * 2);
  EXPECT_EQ(ToF32(merged.weights.Get("blocks.1.v.weight"))[2 * 8 + 7],
            ToF32(base.weights.Get("blocks.1.v.weight"))[2 * 8 + 7] + 3 * 2 * 8);
}

TEST(Adapter, GgufAdaptersAreInMetasOrderOfRows) {
  TempDir dir;
  ModelConfig config = TinyLlamaConfig();
  config.head_dim = config.rotary_dim = 4;
  config.heads = 2;
  config.kv_heads = 1;
  GgufWriter writer;
  writer.SetString("general.architecture", "llama");
  writer.SetString("general.type", "adapter");
  writer.SetString("adapter.type", "lora");
  writer.SetF32("adapter.lora.alpha", 3);
  writer.AddTensor("blk.1.attn_q.weight.lora_a", Row(kA));
  writer.AddTensor("blk.1.attn_q.weight.lora_b", Column({0, 1, 0, 0, 0, 0, 0, 0}));
  writer.Write(dir.File("lora.gguf"));
  const Model base = Base(config), merged = Merge(dir, base, "lora.gguf");
  // Row 1 of Meta's order is row 2 of the half-split one.
  const std::vector<float> before = ToF32(base.weights.Get("blocks.1.q.weight"));
  const std::vector<float> after = ToF32(merged.weights.Get("blocks.1.q.weight"));
  for (size_t i = 0; i < before.size(); ++i) {
    EXPECT_EQ(after[i], before[i] + (i / 8 == 2 ? 3 * kA[i % 8] : 0)) << i;
  }
  EXPECT_THAT([&] { LoadModel(dir.File("lora.gguf")); },
              ThrowsMessage<Error>(AllOf(HasSubstr("an adapter for a model of architecture llama"),
                                         HasSubstr("--adapter"))));
}

TEST(Adapter, IsNoModel) {
  TempDir dir;
  WritePeft(dir, QFactors());
  for (const char* path :
       {"adapter", "adapter/adapter_config.json", "adapter/adapter_model.safetensors"}) {
    EXPECT_THAT([&] { LoadModel(dir.File(path)); },
                ThrowsMessage<Error>(
                    AllOf(HasSubstr("an adapter for 'someone/base-1b'"), HasSubstr("--adapter"))))
        << path;
  }
}

TEST(Adapter, WhatDoesNotFitIsRefusedByName) {
  TempDir dir;
  const auto expect = [&](const Named& tensors, const std::string& config, const char* words) {
    WritePeft(dir, tensors, config);
    EXPECT_THAT([&] { Merge(dir, Base()); }, ThrowsMessage<Error>(HasSubstr(words)));
  };
  Named tensors = QFactors();
  tensors.pop_back();
  expect(tensors, kConfig, "one factor without the other");
  tensors = QFactors();
  tensors[1].second = Column({1, 2});
  expect(tensors, kConfig, "layers.1.self_attn.q_proj");
  tensors = QFactors();
  tensors.emplace_back("base_model.model.model.layers.9.mlp.up_proj.weight", Row(kA));
  expect(tensors, kConfig, "layers.9.mlp.up_proj");
  const auto with = [](const char* key) {
    return std::string(kConfig).replace(1, 0, std::string(key) + ", ");
  };
  expect(QFactors(), with("\"init_lora_weights\": \"pissa\""), "init_lora_weights: 'pissa'");
  expect(QFactors(), with("\"layer_replication\": [[0, 2]]"), "layer_replication");
  expect(QFactors(), with("\"new_kind\": true"), "new_kind");
  std::string other = kConfig;
  other.replace(other.find("LORA"), 4, "IA3");
  expect(QFactors(), other, "peft_type: 'IA3'");

  Model folded = RuleModel(TinyLlamaConfig(), NativeV1Plan());
  WritePeft(dir, QFactors());
  EXPECT_THAT([&] { Merge(dir, folded); }, ThrowsMessage<Error>(HasSubstr("before it was folded")));
}

}  // namespace
}  // namespace rondo
