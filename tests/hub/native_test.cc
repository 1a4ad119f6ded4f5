// The native model directory: what is written is read back, and version 1 keeps loading.
#include <gmock/gmock.h>

#include <filesystem>

#include "base/file.h"
#include "base/temp_dir.h"
#include "formats/safetensors.h"
#include "hub/native_config.h"
#include "hub/native_testing.h"
#include "rondo/error.h"
#include "rondo/model.h"

namespace rondo {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::ElementsAreArray;
using testing::HasSubstr;
using testing::ThrowsMessage;

void ExpectRuleWeights(const Model& model) {
  const std::vector<TensorSpec> specs = ExpectedTensors(model.config, model.plan);
  EXPECT_EQ(model.weights.size(), specs.size());
  for (const TensorSpec& spec : specs) {
    EXPECT_THAT(ToF32(model.weights.Get(spec.name)),
                ElementsAreArray(RuleValues(spec.name, spec.shape)))
        << spec.name;
  }
}

// The files were written by the first version of the format and never change.
TEST(Native, Version1KeepsLoading) {
  const Model model = LoadModel(RONDO_TEST_DATA "/native-v1");
  EXPECT_EQ(model.config, TinyLlamaConfig());
  EXPECT_EQ(model.plan, NativeV1Plan());
  EXPECT_EQ(model.weights.Get("blocks.1.up.weight").dtype(), DType::kBF16);
  EXPECT_EQ(model.weights.Get("residual.3.q.a").dtype(), DType::kBF16);
  EXPECT_EQ(model.weights.Get("blocks.3.attn_norm.weight").dtype(), DType::kF32);
  ExpectRuleWeights(model);
  // Spelled out, so that the rule above cannot drift together with the reader.
  EXPECT_EQ(ToF32(model.weights.Get("embed.weight"))[0], -0.625f);
  EXPECT_EQ(ToF32(model.weights.Get("residual.3.up.b"))[5], -1);
}

TEST(Native, ConfigOfVersion1LoadsWithoutItsWeights) {
  TempDir dir;
  fs::copy_file(RONDO_TEST_DATA "/native-v1/config.json", dir.File("config.json"));
  for (const std::string& path : {dir.File(""), dir.File("config.json")}) {
    const Model model = LoadModel(path, LoadParts::kConfig);
    EXPECT_EQ(model.plan, NativeV1Plan());
    EXPECT_EQ(model.weights.size(), 0u);
  }
  EXPECT_THAT([&] { LoadModel(dir.File("")); }, ThrowsMessage<Error>(HasSubstr("no weights")));
  EXPECT_THAT([&] { LoadModel(dir.File("config.json")); },
              ThrowsMessage<Error>(HasSubstr("without weights")));
}

std::vector<Model> VariousModels() {
  std::vector<Model> models = {RuleModel(TinyLlamaConfig(), NativeV1Plan()),
                               RuleModel(TinyGpt2Config(), IdentityPlan(TinyGpt2Config()))};
  for (const ResidualKind kind : {ResidualKind::kLoraDiag, ResidualKind::kDora,
                                  ResidualKind::kMulDiag, ResidualKind::kKronecker}) {
    SharingPlan plan = NativeV1Plan();
    for (const Module m : {Module::kQ, Module::kUp}) {
      plan[m].residual = kind;
      if (kind == ResidualKind::kMulDiag) plan[m].ranks.clear();
    }
    models.push_back(RuleModel(TinyLlamaConfig(), plan));
  }
  SharingPlan biases = IdentityPlan(TinyGpt2Config());
  for (const Module m : {Module::kQ, Module::kDown}) {
    biases[m].blocks = {0, 0, 0, 0};
    biases[m].own_bias = true;
  }
  biases.prefix = 3;
  models.push_back(RuleModel(TinyGpt2Config(), biases));
  return models;
}

TEST(Native, EveryPlanAndTypeIsReadBackAsItWasSaved) {
  TempDir dir;
  for (const Model& model : VariousModels()) {
    for (const DType store : {DType::kF32, DType::kF16, DType::kBF16}) {
      SaveModel(model, dir.File("m"), store);
      const Model loaded = LoadModel(dir.File("m"));
      EXPECT_EQ(loaded.config, model.config);
      EXPECT_EQ(loaded.plan, model.plan);
      EXPECT_EQ(loaded.path, dir.File("m"));
      ExpectRuleWeights(loaded);
      for (const auto& [name, tensor] : loaded.weights) {
        EXPECT_EQ(tensor.dtype(), tensor.shape().size() > 1 ? store : DType::kF32) << name;
      }
    }
  }
}

TEST(Native, QuantisedMatricesAreStoredInThePlainTypeAskedFor) {
  TempDir dir;
  ModelConfig config = TinyLlamaConfig();
  config.d_model = 32;
  config.head_dim = 8;
  config.rotary_dim = 8;
  config.attn_scale = 0.35355338f;
  Model model = RuleModel(config, IdentityPlan(config));
  std::vector<std::byte> blocks(16 * 34);  // scale 0: all zeros
  model.weights.Set("embed.weight", Tensor::FromBytes(DType::kQ8_0, {16, 32}, std::move(blocks)));
  SaveModel(model, dir.File("m"), DType::kF16);
  const Tensor embed = LoadModel(dir.File("m")).weights.Get("embed.weight");
  EXPECT_EQ(embed.dtype(), DType::kF16);
  EXPECT_THAT(ToF32(embed), testing::Each(0));
  EXPECT_THAT([&] { SaveModel(model, dir.File("q"), DType::kQ8_0); },
              ThrowsMessage<Error>(HasSubstr("cannot store q8_0")));
  EXPECT_FALSE(fs::exists(dir.File("q")));
}

TEST(Native, AModelNeverReplacesTheDirectoryItIsMappedFrom) {
  TempDir dir;
  SaveModel(RuleModel(TinyLlamaConfig(), NativeV1Plan()), dir.File("m"), DType::kF32);
  const Model model = LoadModel(dir.File("m"));
  EXPECT_THAT([&] { SaveModel(model, dir.File("m"), DType::kBF16, {.force = true}); },
              ThrowsMessage<Error>(HasSubstr("is the input")));
  ExpectRuleWeights(model);
  ExpectRuleWeights(LoadModel(dir.File("m")));
}

TEST(Native, AModelThatDoesNotFitItsPlanIsNotSaved) {
  TempDir dir;
  Model model = RuleModel(TinyLlamaConfig(), NativeV1Plan());
  model.weights.Erase("residual.2.q.b");
  EXPECT_THAT([&] { SaveModel(model, dir.File("m"), DType::kF32); },
              ThrowsMessage<Error>(HasSubstr("residual.2.q.b")));
  EXPECT_TRUE(fs::is_empty(dir.File("")));
}

TEST(Native, ConfigNamesAModelTypeThatTransformersRefuses) {
  const std::string text = NativeConfigText(TinyLlamaConfig(), NativeV1Plan(), DType::kBF16);
  EXPECT_THAT(
      text,
      AllOf(HasSubstr("\"model_type\": \"rondo\""), HasSubstr("\"base_model_type\": \"llama\""),
            HasSubstr("\"RondoForCausalLM\""), HasSubstr("\"torch_dtype\": \"bfloat16\"")));
  EXPECT_TRUE(ParseConfigFile(text, "f").native);
}

TEST(LoadModel, SaysWhatItWouldHaveTaken) {
  TempDir dir;
  fs::create_directory(dir.File("empty"));
  for (const char* name : {"a.txt", "a.safetensors"}) AtomicFile(dir.File(name)).Commit();
  EXPECT_THAT([&] { LoadModel(dir.File("no")); },
              ThrowsMessage<Error>(AllOf(HasSubstr("no such file"), HasSubstr(".gguf"))));
  EXPECT_THAT([&] { LoadModel(dir.File("empty")); },
              ThrowsMessage<Error>(HasSubstr("no config.json")));
  EXPECT_THAT([&] { LoadModel(dir.File("a.txt")); },
              ThrowsMessage<Error>(HasSubstr("not a model")));
  EXPECT_THAT([&] { LoadModel(dir.File("a.safetensors")); },
              ThrowsMessage<Error>(HasSubstr("the directory they are in")));
}

}  // namespace
}  // namespace rondo
