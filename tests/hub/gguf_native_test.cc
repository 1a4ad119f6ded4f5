// Models with a sharing plan in one GGUF file: what is written is read back, and version 1 keeps
// loading.
#include "hub/gguf_native.h"

#include <gmock/gmock.h>

#include <cmath>
#include <functional>
#include <string>

#include "base/file.h"
#include "base/temp_dir.h"
#include "hub/native_testing.h"
#include "rondo/error.h"
#include "rondo/export.h"
#include "rondo/thread_pool.h"
#include "rondo/tokenizer.h"

namespace rondo {
namespace {

using testing::ElementsAreArray;
using testing::HasSubstr;
using testing::ThrowsMessage;

// Wide enough for blocks of 32.
ModelConfig GgufV1Config() {
  ModelConfig config = TinyLlamaConfig();
  config.d_model = 32;
  config.d_ff = 64;
  config.head_dim = config.rotary_dim = 8;
  config.attn_scale = 1 / std::sqrt(8.0f);
  return config;
}

SharingPlan GgufV1Plan() {
  SharingPlan plan = NativeV1Plan();
  for (const Module m : {Module::kQ, Module::kUp}) plan[m].ranks.assign(4, 32);
  return plan;
}

// Linears q4_0, factors of residuals q8_0, embedding f16.
TensorTypes GgufV1Types(const Model& model) {
  TensorTypes types = UniformTypes(model, DType::kQ4_0);
  for (auto& [name, dtype] : types) {
    if (dtype == DType::kF32) continue;
    if (name.starts_with("residual.")) dtype = DType::kQ8_0;
    if (name == "embed.weight" || name == "head.weight") dtype = DType::kF16;
  }
  return types;
}

void Save(const Model& model, const std::string& file) {
  ThreadPool pool(1);
  SaveNativeGguf(model, file, GgufV1Types(model), pool);
}

void ExpectV1(const Model& model) {
  EXPECT_EQ(model.config, GgufV1Config());
  EXPECT_EQ(model.plan, GgufV1Plan());
  const TensorTypes types = GgufV1Types(model);
  EXPECT_EQ(model.weights.size(), types.size());
  for (const auto& [name, dtype] : types) {
    const Tensor& tensor = model.weights.Get(name);
    EXPECT_EQ(tensor.dtype(), dtype) << name;
    const Tensor rule = Tensor::FromF32(tensor.shape(), RuleValues(name, tensor.shape()));
    EXPECT_THAT(ToF32(tensor), ElementsAreArray(ToF32(Cast(rule, dtype)))) << name;
  }
}

// Bytes as they were; and never in a file that says it is for others.
TEST(GgufNative, TypesOfTwoAndThreeBitsAreRondosAlone) {
  TempDir dir;
  const Model model = RuleModel(GgufV1Config(), GgufV1Plan());
  ThreadPool pool(1);
  for (const DType type : {DType::kQ2_0, DType::kQ2_1, DType::kQ3_0, DType::kQ3_1}) {
    TensorTypes types = GgufV1Types(model);
    for (auto& [name, dtype] : types) {
      if (dtype == DType::kQ4_0) dtype = type;
    }
    const std::string file = dir.File(std::string(Info(type).name) + ".gguf");
    SaveNativeGguf(model, file, types, pool);
    const Model read = LoadModel(file);
    for (const auto& [name, dtype] : types) {
      const Tensor expected = Cast(model.weights.Get(name), dtype);
      ASSERT_EQ(read.weights.Get(name).dtype(), dtype) << name;
      const auto bytes = read.weights.Get(name).bytes();
      EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), expected.bytes().begin())) << name;
    }
    EXPECT_THAT([&] { ExportGguf(model, dir.File("other.gguf"), types, pool); },
                ThrowsMessage<Error>(
                    AllOf(HasSubstr(std::string(Info(type).name)), HasSubstr("only rondo reads"))));
  }
}

TEST(GgufNative, WhatIsWrittenIsReadBack) {
  TempDir dir;
  Save(RuleModel(GgufV1Config(), GgufV1Plan()), dir.File("m.gguf"));
  const Model model = LoadModel(dir.File("m.gguf"));
  ExpectV1(model);
  EXPECT_EQ(model.path, dir.File("m.gguf"));
  EXPECT_EQ(LoadModel(dir.File("m.gguf"), LoadParts::kConfig).plan, GgufV1Plan());
}

// The file was written by the first version of the format and never changes.
TEST(GgufNative, Version1KeepsLoading) {
  const Model model = LoadModel(RONDO_TEST_DATA "/gguf-native-v1.gguf");
  ExpectV1(model);
  // Spelled out, so that the rule cannot drift together with the reader: q4_0 of values between -1
  // and 7/8 in steps of 1/8 is exact.
  EXPECT_EQ(ToF32(model.weights.Get("blocks.0.q.weight"))[0], -0.875f);
  EXPECT_EQ(ToF32(model.weights.Get("embed.weight"))[0], -0.625f);
}

TEST(GgufNative, LearnedPositionsAndBiasesToo) {
  ModelConfig config = TinyGpt2Config();
  TempDir dir;
  const Model model = RuleModel(config, IdentityPlan(config));
  ThreadPool pool(1);
  SaveNativeGguf(model, dir.File("m.gguf"), UniformTypes(model, DType::kF32), pool);
  const Model back = LoadModel(dir.File("m.gguf"));
  EXPECT_EQ(back.config, config);
  for (const auto& [name, tensor] : model.weights) {
    EXPECT_EQ(ToF32(back.weights.Get(name)), ToF32(tensor)) << name;
  }
}

TEST(GgufNative, CarriesTheTokenizer) {
  TempDir dir;
  const Model story = LoadModel(RONDO_TEST_DATA "/models/stories260K/stories260K.bin");
  ThreadPool pool(1);
  SaveNativeGguf(story, dir.File("m.gguf"), UniformTypes(story, DType::kF16), pool);
  const std::string text = "Once upon a time, there was a cat.";
  EXPECT_EQ(LoadTokenizer(dir.File("m.gguf"))->Encode(text),
            LoadTokenizer(story.path)->Encode(text));
}

// Metadata of a valid file with one key changed.
void ExpectRefused(const std::function<void(GgufWriter&)>& change, const std::string& message) {
  TempDir dir;
  Save(RuleModel(GgufV1Config(), GgufV1Plan()), dir.File("valid.gguf"));
  const GgufFile valid = GgufFile::Open(dir.File("valid.gguf"));
  GgufWriter writer;
  writer.SetString("general.architecture", "rondo");
  writer.SetU32("rondo.format", 1);
  writer.SetString("rondo.config", valid.String("rondo.config"));
  for (const auto& [name, tensor] : valid.tensors()) {
    if (name != "blocks.0.v.weight") writer.AddTensor(name, tensor);
  }
  change(writer);
  writer.Write(dir.File("bad.gguf"));
  EXPECT_THAT([&] { LoadModel(dir.File("bad.gguf")); },
              ThrowsMessage<Error>(testing::AllOf(HasSubstr("bad.gguf"), HasSubstr(message))));
}

TEST(GgufNative, RefusesWhatIsNotAModelOfItsFormat) {
  const auto v = [](GgufWriter& writer) {
    writer.AddTensor("blocks.0.v.weight",
                     Tensor::FromF32({16, 32}, std::vector<float>(16 * 32, 0.5f)));
  };
  ExpectRefused([](GgufWriter&) {}, "blocks.0.v.weight");
  ExpectRefused([&](GgufWriter& w) { v(w), w.SetU32("rondo.format", 2); }, "version 2");
  ExpectRefused([&](GgufWriter& w) { v(w), w.SetString("rondo.config", "{}"); }, "model_type");
  ExpectRefused([&](GgufWriter& w) { v(w), w.SetString("rondo.config", "{"); }, "bad.gguf");
  ExpectRefused([&](GgufWriter& w) { v(w), w.SetBool("rondo.config", true); }, "rondo.config");
  ExpectRefused(
      [&](GgufWriter& w) {
        v(w);
        w.AddTensor("surplus", Tensor::FromF32({2}, std::vector<float>{1, 2}));
      },
      "surplus");
  ExpectRefused(
      [](GgufWriter& w) {
        w.AddTensor("blocks.0.v.weight", Tensor::FromF32({8}, std::vector<float>(8)));
      },
      "blocks.0.v.weight");
}

}  // namespace
}  // namespace rondo
