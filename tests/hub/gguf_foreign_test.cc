// GGUF files as programs other than llama.cpp's converter write and name them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "hub/gguf_contents.h"
#include "hub/stored.h"
#include "rondo/error.h"
#include "rondo/model.h"

namespace rondo {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::ThrowsMessage;

void ExpectSameWeights(const Model& model, const Model& expected) {
  ASSERT_EQ(model.weights.size(), expected.weights.size());
  for (const auto& [name, tensor] : expected.weights) {
    EXPECT_EQ(ToF32(model.weights.Get(name)), ToF32(tensor)) << name;
  }
}

TEST(GgufForeign, CountsMayBeArraysOfOneValueALayer) {
  TempDir dir;
  GgufContents contents = ContentsOf(SmallGgufConfig("llama"), dir);
  const Model plain = LoadModel(dir.File("valid.gguf"));
  contents.metadata["llama.attention.head_count"] = std::vector<int64_t>(7, 4);
  contents.metadata["llama.attention.head_count_kv"] = std::vector<int64_t>(7, 2);
  contents.metadata["llama.feed_forward_length"] = std::vector<int64_t>(7, 48);
  Write(contents, dir.File("arrays.gguf"));
  EXPECT_EQ(LoadModel(dir.File("arrays.gguf")).config, plain.config);

  contents.metadata["llama.attention.head_count_kv"] = std::vector<int64_t>{2, 2, 2, 4, 2, 2, 2};
  Write(contents, dir.File("differ.gguf"));
  EXPECT_THAT([&] { LoadModel(dir.File("differ.gguf")); },
              ThrowsMessage<Error>(
                  AllOf(HasSubstr("llama.attention.head_count_kv"), HasSubstr("4 in layer 3"))));
  contents.metadata["llama.attention.head_count_kv"] = std::vector<int64_t>(5, 2);
  Write(contents, dir.File("short.gguf"));
  EXPECT_THAT([&] { LoadModel(dir.File("short.gguf")); },
              ThrowsMessage<Error>(HasSubstr("head_count_kv: 5 values")));
}

TEST(GgufForeign, Gemma3ByOllamasConverter) {
  TempDir dir;
  ModelConfig config = SmallGgufConfig("gemma3_text");
  config.norm_eps = 1e-6f;
  config.rope_scaling = {};
  GgufContents contents = ContentsOf(config, dir);
  const Model usual = LoadModel(dir.File("valid.gguf"));
  contents.metadata.erase("gemma3.rope.freq_base");
  contents.metadata.erase("gemma3.rope.freq_base_swa");
  contents.metadata.erase("gemma3.attention.layer_norm_rms_epsilon");
  contents.metadata["gemma3.rope.global.freq_base"] = 1e6;
  contents.metadata["gemma3.rope.local.freq_base"] = 1e4;
  Write(contents, dir.File("ollama.gguf"));
  EXPECT_EQ(LoadModel(dir.File("ollama.gguf")).config, usual.config);

  // Local layers as a switch for each.
  contents.metadata["gemma3.attention.sliding_window_pattern"] =
      std::vector<int64_t>{1, 0, 1, 0, 1, 0, 1};
  Write(contents, dir.File("pattern.gguf"));
  EXPECT_EQ(LoadModel(dir.File("pattern.gguf")).config.local_layers,
            (std::vector<uint8_t>{1, 0, 1, 0, 1, 0, 1}));
}

TEST(GgufForeign, AHeadThatRepeatsTheEmbeddingIsTied) {
  TempDir dir;
  GgufContents contents = ContentsOf(SmallGgufConfig("llama"), dir);
  EXPECT_FALSE(LoadModel(dir.File("valid.gguf")).config.tied_embeddings);
  contents.tensors["output.weight"] = contents.tensors.at("token_embd.weight");
  Write(contents, dir.File("twice.gguf"));
  const Model tied = LoadModel(dir.File("twice.gguf"));
  EXPECT_TRUE(tied.config.tied_embeddings);
  EXPECT_FALSE(tied.weights.Has("head.weight"));
  EXPECT_EQ(LoadModel(dir.File("twice.gguf"), LoadParts::kConfig).config, tied.config);
  // One weight that differs makes a head.
  std::vector<float> head = ToF32(contents.tensors.at("token_embd.weight"));
  head.back() += 1;
  contents.tensors["output.weight"] = Tensor::FromF32({40, 32}, head);
  Write(contents, dir.File("own.gguf"));
  EXPECT_FALSE(LoadModel(dir.File("own.gguf")).config.tied_embeddings);
}

TEST(GgufForeign, TheNameOfAFileSaysNothing) {
  TempDir dir;
  const Model model = RandomGgufModel(SmallGgufConfig("qwen2"));
  for (const char* name : {"sha256-0f1e2d3c", "model.bin", "MODEL.GGUF", "x.json"}) {
    WriteUniformGguf(model, dir.File(name), DType::kF32);
    ExpectSameWeights(LoadModel(dir.File(name)), model);
  }
}

// The tensors of a file, every third in its own part, under the names that llama-gguf-split gives.
void WriteParts(const GgufContents& contents, const std::string& stem) {
  for (int part = 0; part < 3; ++part) {
    GgufContents own;
    if (part == 0) own.metadata = contents.metadata;
    own.metadata["split.no"] = int64_t{part};
    own.metadata["split.count"] = int64_t{3};
    own.metadata["split.tensors.count"] = static_cast<int64_t>(contents.tensors.size());
    int i = 0;
    for (const auto& [name, tensor] : contents.tensors) {
      if (i++ % 3 == part) own.tensors[name] = tensor;
    }
    Write(own, stem + "-0000" + std::to_string(part + 1) + "-of-00003.gguf");
  }
}

TEST(GgufForeign, PartsAreOneModelWhicheverIsNamed) {
  TempDir dir;
  WriteParts(ContentsOf(SmallGgufConfig("llama"), dir), dir.File("m"));
  const Model whole = LoadModel(dir.File("valid.gguf"));
  for (const char* part : {"1", "3"}) {
    const std::string path = dir.File(std::string("m-0000") + part + "-of-00003.gguf");
    const Model model = LoadModel(path);
    EXPECT_EQ(model.config, whole.config);
    ExpectSameWeights(model, whole);
    EXPECT_GT(StoredBytes(path), whole.weights.bytes());
  }
  std::filesystem::remove(dir.File("m-00002-of-00003.gguf"));
  EXPECT_THAT([&] { LoadModel(dir.File("m-00001-of-00003.gguf")); },
              ThrowsMessage<Error>(HasSubstr("m-00002-of-00003.gguf")));
  std::filesystem::rename(dir.File("m-00001-of-00003.gguf"), dir.File("first.gguf"));
  EXPECT_THAT(
      [&] { LoadModel(dir.File("first.gguf")); },
      ThrowsMessage<Error>(AllOf(HasSubstr("part 1 of 3"), HasSubstr("-00001-of-00003.gguf"))));
}

TEST(GgufForeign, ScalingsThatLlamaCppKnowsTravel) {
  TempDir dir;
  ModelConfig yarn = SmallGgufConfig("qwen2");
  yarn.rope_scaling = {.kind = RopeScalingKind::kYarn,
                       .factor = 4,
                       .original_max_positions = 16,
                       .attention_factor = 1.13862944f};
  WriteUniformGguf(RandomGgufModel(yarn), dir.File("yarn.gguf"), DType::kF32);
  EXPECT_EQ(LoadModel(dir.File("yarn.gguf")).config, yarn);

  ModelConfig longrope = SmallGgufConfig("llama");
  longrope.rope_scaling = {.kind = RopeScalingKind::kLongRope,
                           .factor = 4,
                           .original_max_positions = 16,
                           .attention_factor = 1.25f,
                           .short_factors = {1, 1, 2, 2},
                           .long_factors = {1, 2, 3, 4}};
  WriteUniformGguf(RandomGgufModel(longrope), dir.File("long.gguf"), DType::kF32);
  EXPECT_EQ(LoadModel(dir.File("long.gguf")).config, longrope);

  ModelConfig dynamic = SmallGgufConfig("llama");
  dynamic.rope_scaling = {
      .kind = RopeScalingKind::kDynamic, .factor = 2, .original_max_positions = 32};
  const Model model = RandomGgufModel(dynamic);
  EXPECT_THAT([&] { WriteUniformGguf(model, dir.File("no.gguf"), DType::kF32); },
              ThrowsMessage<Error>(HasSubstr("no dynamic scaling")));
}

TEST(GgufForeign, TypesWithoutAKernelKeepTheirBytesUntilTheyAreUsed) {
  TempDir dir;
  ModelConfig config = SmallGgufConfig("llama");
  GgufContents contents = ContentsOf(config, dir);
  std::vector<std::byte> blocks(48 * 17, std::byte{0x21});  // [48, 32]: a block of mxfp4 a row
  for (size_t row = 0; row < 48; ++row) blocks[row * 17] = std::byte{127};
  contents.tensors["blk.2.ffn_up.weight"] = Tensor::FromBytes(DType::kMXFP4, {48, 32}, blocks);
  Write(contents, dir.File("m.gguf"));
  const Model model = LoadModel(dir.File("m.gguf"));
  const Tensor& up = model.weights.Get("blocks.2.up.weight");
  EXPECT_EQ(up.dtype(), DType::kMXFP4);
  // Code 1 is 0.5, code 2 is 1.
  EXPECT_EQ(ToF32(up)[0], 0.5f);
  EXPECT_EQ(ToF32(up)[16], 1.0f);
  const std::vector<StoredType> types = StoredTypes(dir.File("m.gguf"), model.weights);
  ASSERT_EQ(types.size(), 2u);
  EXPECT_EQ(types[1].name, "mxfp4");
  EXPECT_EQ(types[1].tensors, 1);
  EXPECT_EQ(types[1].bytes, 48u * 17u);
}

}  // namespace
}  // namespace rondo
