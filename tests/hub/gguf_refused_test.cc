// GGUF files that are well-formed but hold models which would be computed wrongly.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "base/temp_dir.h"
#include "formats/gguf.h"
#include "hub/gguf_contents.h"
#include "hub/gguf_model.h"
#include "hub/gguf_test_models.h"
#include "rondo/error.h"
#include "rondo/export.h"

namespace rondo {
namespace {

using testing::HasSubstr;

Tensor Ones(Shape shape) {
  return Tensor::FromF32(shape, std::vector<float>(static_cast<size_t>(ElementCount(shape)), 1));
}

struct Refused {
  const char* name;
  std::function<void(GgufContents&)> change;
  std::string field;
  std::string words;
};

std::vector<Refused> KeyCases() {
  const auto set = [](const char* key, GgufValue value) {
    return [=](GgufContents& c) { c.metadata[key] = value; };
  };
  const auto erase = [](const char* key) {
    return [=](GgufContents& c) { c.metadata.erase(key); };
  };
  return {
      {"NoArchitecture", erase("general.architecture"), "general.architecture", "missing"},
      {"UnknownArchitecture", set("general.architecture", "mamba2"), "general.architecture",
       "unsupported architecture 'mamba2' (expected one of llama, gemma"},
      {"RondoArchitectureWithoutItsPlan", set("general.architecture", "rondo"), "rondo.format",
       "missing"},
      {"UnknownKey", set("llama.attention.q_lora_rank", int64_t{4}), "llama.attention.q_lora_rank",
       "does not understand"},
      {"Experts", set("llama.expert_count", uint64_t{8}), "llama.expert_count", "not supported"},
      {"ClampedQkv", set("llama.attention.clamp_kqv", 8.0), "llama.attention.clamp_kqv",
       "not supported"},
      {"Alibi", set("llama.attention.max_alibi_bias", 8.0), "llama.attention.max_alibi_bias",
       "not supported"},
      {"NotCausal", set("llama.attention.causal", false), "llama.attention.causal", "expected 1"},
      {"UnknownScaling", set("llama.rope.scaling.type", "ntk"), "llama.rope.scaling.type", "'ntk'"},
      {"AttentionFactorWithoutItsScaling", set("llama.rope.scaling.attn_factor", 1.5),
       "llama.rope.scaling.attn_factor", "1 without yarn"},
      {"LongRopeWithoutFactors", set("llama.rope.scaling.type", "longrope"),
       "rope_factors_short.weight", "missing tensor"},
      {"ThetaOfOllamasGemma", set("llama.rope.global.freq_base", 1e6),
       "llama.rope.global.freq_base", "not supported"},
      {"NoLayers", set("llama.block_count", uint64_t{0}), "llama.block_count", "value 0"},
      {"TooManyLayers", set("llama.block_count", uint64_t{4000000000}), "llama.block_count",
       "4000000000"},
      {"NegativeWidth", set("llama.embedding_length", int64_t{-32}), "llama.embedding_length",
       "-32"},
      {"NoHeads", set("llama.attention.head_count", uint64_t{0}), "llama.attention.head_count",
       "value 0"},
      {"HeadsPerLayer", set("llama.attention.head_count", std::vector<int64_t>{4, 2}),
       "llama.attention.head_count",
       "2 values (expected one value, or one for each of the 7 layers)"},
      {"KvHeadsDoNotDivide", set("llama.attention.head_count_kv", uint64_t{3}),
       "llama.attention.head_count_kv", "divisor"},
      {"ValueLengthDiffers", set("llama.attention.value_length", uint64_t{4}),
       "llama.attention.value_length", "key length 8"},
      {"PartialRotation", set("llama.rope.dimension_count", uint64_t{4}),
       "llama.rope.dimension_count", "head dimension 8"},
      {"ZeroTheta", set("llama.rope.freq_base", 0.0), "llama.rope.freq_base", "positive"},
      {"InfiniteScaling", set("llama.rope.scaling.factor", 1e300), "llama.rope.scaling.factor",
       "positive number"},
      {"VocabularySize", set("llama.vocab_size", uint64_t{41}), "llama.vocab_size", "40 rows"},
      {"EosOutsideVocabulary", set("tokenizer.ggml.eos_token_id", uint64_t{40}),
       "tokenizer.ggml.eos_token_id", "token 40"},
      {"NoEpsilon", erase("llama.attention.layer_norm_rms_epsilon"),
       "llama.attention.layer_norm_rms_epsilon", "missing"},
      {"EpsilonIsText", set("llama.attention.layer_norm_rms_epsilon", "small"),
       "llama.attention.layer_norm_rms_epsilon", "is a string"},
  };
}

std::vector<Refused> TensorCases() {
  const auto set = [](const char* name, const Tensor& tensor) {
    return [=](GgufContents& c) { c.tensors[name] = tensor; };
  };
  const auto erase = [](const char* name) {
    return [=](GgufContents& c) { c.tensors.erase(name); };
  };
  return {
      {"NoEmbedding", erase("token_embd.weight"), "token_embd.weight", "missing tensor"},
      {"NoFinalNorm", erase("output_norm.weight"), "output_norm.weight", "missing tensor"},
      {"NoGateInOneLayer", erase("blk.4.ffn_gate.weight"), "blk.4.ffn_gate.weight", "missing"},
      {"BiasInOneLayerOnly", set("blk.3.attn_q.bias", Ones({32})), "blk.3.attn_q.bias",
       "not known to use"},
      {"WrongShape", set("blk.0.ffn_up.weight", Ones({32, 48})), "blk.0.ffn_up.weight",
       "shape [32, 48] (expected shape [48, 32])"},
      {"LayerBeyondTheLast", set("blk.7.attn_norm.weight", Ones({32})), "blk.7.attn_norm.weight",
       "not known to use"},
      {"QkNormInLlama", set("blk.0.attn_q_norm.weight", Ones({8})), "blk.0.attn_q_norm.weight",
       "not known to use"},
      {"FactorsOfAnotherKind",
       set("rope_freqs.weight", Tensor::FromF32({4}, std::vector<float>{1, 9, 2, 5})),
       "rope_freqs.weight", "Llama 3's formula"},
      {"FactorsOfAnotherLength", set("rope_freqs.weight", Ones({5})), "rope_freqs.weight",
       "4 frequencies"},
  };
}

void ExpectRefused(const std::vector<Refused>& cases) {
  TempDir dir;
  for (const Refused& refused : cases) {
    SCOPED_TRACE(refused.name);
    GgufContents contents = ContentsOf(SmallGgufConfig("llama"), dir);
    refused.change(contents);
    const std::string path = dir.File(std::string(refused.name) + ".gguf");
    Write(contents, path);
    try {
      LoadGgufModel(path, LoadParts::kAll);
      ADD_FAILURE() << "was accepted";
    } catch (const Error& error) {
      EXPECT_EQ(error.info().file, path);
      EXPECT_EQ(error.info().field, refused.field) << error.what();
      EXPECT_THAT(error.what(), HasSubstr(refused.words));
    }
  }
}

TEST(GgufRefusedTest, MetadataThatChangesResults) { ExpectRefused(KeyCases()); }
TEST(GgufRefusedTest, TensorsThatDoNotFit) { ExpectRefused(TensorCases()); }

TEST(GgufRefusedTest, KeysOfNeutralValueAreAccepted) {
  TempDir dir;
  GgufContents contents = ContentsOf(SmallGgufConfig("llama"), dir);
  contents.metadata["llama.expert_count"] = uint64_t{0};
  contents.metadata["llama.attention.causal"] = true;
  contents.metadata["llama.rope.scaling.type"] = std::string("none");
  contents.metadata["tokenizer.ggml.eos_token_id"] = uint64_t{0xffffffff};  // "none"
  contents.metadata["someone.else"] = std::string("x");
  contents.tensors["rope_freqs.weight"] = Ones({4});  // no scaling at all
  Write(contents, dir.File("m.gguf"));
  const Model model = LoadGgufModel(dir.File("m.gguf"), LoadParts::kAll);
  EXPECT_EQ(model.config.eos_tokens, std::vector<int>{5});
}

}  // namespace
}  // namespace rondo
