#include "formats/gguf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <numeric>
#include <string>
#include <vector>

#include "base/stopwatch.h"
#include "base/temp_dir.h"
#include "rondo/error.h"

namespace rondo {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

Tensor Counting(Shape shape) {
  std::vector<float> values(static_cast<size_t>(ElementCount(shape)));
  std::iota(values.begin(), values.end(), 0.0f);
  return Tensor::FromF32(std::move(shape), std::move(values));
}

TEST(GgufTest, MetadataOfEveryTypeSurvivesTheRoundTrip) {
  TempDir dir;
  GgufWriter writer;
  writer.SetU32("u32", 4000000000u);
  writer.SetI32("i32", -7);
  writer.SetF32("f32", 0.5f);
  writer.SetBool("bool", true);
  writer.SetString("string", std::string("a\0b \xc3\xa9", 6));
  writer.SetStrings("strings", {"", "x", "\xff"});
  writer.SetI32s("i32s", {-1, 0, 7});
  writer.SetF32s("f32s", {0.25f, -1});
  writer.SetStrings("empty", {});
  writer.Write(dir.File("m.gguf"));

  const GgufFile file = GgufFile::Open(dir.File("m.gguf"));
  EXPECT_EQ(file.metadata().size(), 9u);
  EXPECT_EQ(file.Int("u32"), 4000000000);
  EXPECT_EQ(file.Int("i32"), -7);
  EXPECT_EQ(file.Float("f32"), 0.5);
  EXPECT_TRUE(file.Bool("bool", false));
  EXPECT_EQ(file.String("string"), std::string("a\0b \xc3\xa9", 6));
  EXPECT_THAT(file.Strings("strings"), ElementsAre("", "x", "\xff"));
  EXPECT_THAT(file.Ints("i32s"), ElementsAre(-1, 0, 7));
  EXPECT_THAT(file.Floats("f32s"), ElementsAre(0.25, -1));
  EXPECT_TRUE(file.Strings("empty").empty());
}

TEST(GgufTest, SettingAKeyAgainReplacesItsValue) {
  TempDir dir;
  GgufWriter writer;
  writer.SetU32("key", 1);
  writer.SetString("key", "two");
  writer.Write(dir.File("m.gguf"));
  EXPECT_EQ(GgufFile::Open(dir.File("m.gguf")).String("key"), "two");
}

TEST(GgufTest, TensorsKeepShapeTypeAndBytes) {
  TempDir dir;
  const Tensor matrix = Counting({3, 5});  // 60 bytes: the next tensor needs padding
  const Tensor cube = Cast(Counting({2, 3, 4}), DType::kBF16);
  const Tensor blocks = Tensor::FromBytes(DType::kQ4_0, {2, 32}, std::vector<std::byte>(36));
  GgufWriter writer;
  writer.AddTensor("matrix", matrix);
  writer.AddTensor("cube", cube);
  writer.AddTensor("blocks", blocks);
  writer.Write(dir.File("m.gguf"));

  const GgufFile file = GgufFile::Open(dir.File("m.gguf"));
  ASSERT_EQ(file.tensors().size(), 3u);
  for (const auto& [name, expected] :
       {std::pair<std::string, Tensor>{"matrix", matrix}, {"cube", cube}, {"blocks", blocks}}) {
    const Tensor& got = file.tensors().find(name)->second;
    EXPECT_EQ(got.dtype(), expected.dtype()) << name;
    EXPECT_EQ(got.shape(), expected.shape()) << name;
    EXPECT_TRUE(std::equal(got.bytes().begin(), got.bytes().end(), expected.bytes().begin(),
                           expected.bytes().end()))
        << name;
  }
}

TEST(GgufTest, TensorsOutliveTheGgufFile) {
  TempDir dir;
  GgufWriter writer;
  writer.AddTensor("t", Counting({4}));
  writer.Write(dir.File("m.gguf"));
  Tensor tensor;
  {
    const GgufFile file = GgufFile::Open(dir.File("m.gguf"));
    tensor = file.tensors().find("t")->second;
  }
  EXPECT_THAT(ToF32(tensor), ElementsAre(0, 1, 2, 3));
}

TEST(GgufTest, AccessNamesFileKeyAndTypes) {
  TempDir dir;
  GgufWriter writer;
  writer.SetString("name", "x");
  writer.Write(dir.File("m.gguf"));
  const GgufFile file = GgufFile::Open(dir.File("m.gguf"));
  EXPECT_EQ(file.Int("absent", 5), 5);
  EXPECT_EQ(file.String("absent", "d"), "d");
  try {
    file.Int("absent");
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.info().field, "absent");
    EXPECT_THAT(error.what(), HasSubstr("m.gguf"));
    EXPECT_THAT(error.what(), HasSubstr("missing"));
  }
  try {
    file.Float("name", 1.0);  // present, but of another type: the fallback must not hide it
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("is a string"));
    EXPECT_THAT(error.what(), HasSubstr("a number"));
  }
}

TEST(GgufTest, WriterRefusesWhatReadersWould) {
  GgufWriter writer;
  writer.AddTensor("t", Counting({1}));
  EXPECT_THROW(writer.AddTensor("t", Counting({1})), Error);
  EXPECT_THROW(writer.AddTensor("", Counting({1})), Error);
  EXPECT_THROW(writer.AddTensor(std::string(64, 'x'), Counting({1})), Error);
  EXPECT_THROW(writer.AddTensor("five", Counting({1, 1, 1, 1, 1})), Error);
  EXPECT_THROW(writer.AddTensor("none", Counting({0, 2})), Error);
  EXPECT_THROW(writer.SetU32("", 1), Error);
}

TEST(GgufTest, FailedWriteLeavesNoFile) {
  TempDir dir;
  GgufWriter writer;
  EXPECT_THROW(writer.Write(dir.File("no/such/folder/m.gguf")), Error);
  EXPECT_FALSE(std::filesystem::exists(dir.File("no")));
}

TEST(GgufTest, LargeVocabulariesAreReadQuickly) {
  TempDir dir;
  constexpr size_t kTokens = 256 * 1024;
  std::vector<std::string> tokens;
  for (size_t i = 0; i < kTokens; ++i) tokens.push_back("token" + std::to_string(i));
  GgufWriter writer;
  writer.SetStrings("tokens", std::move(tokens));
  writer.SetF32s("scores", std::vector<float>(kTokens, -1.5f));
  writer.SetI32s("types", std::vector<int32_t>(kTokens, 1));
  writer.Write(dir.File("m.gguf"));
  const Stopwatch watch;
  const GgufFile file = GgufFile::Open(dir.File("m.gguf"));
  const double seconds = watch.Seconds();
  EXPECT_EQ(file.Strings("tokens")[kTokens - 1], "token262143");
  EXPECT_EQ(file.Floats("scores")[kTokens - 1], -1.5);
  // About 0.02 s; a reader that copied or searched per entry would take far longer even here.
  EXPECT_LT(seconds, 2.0);
}

}  // namespace
}  // namespace rondo
