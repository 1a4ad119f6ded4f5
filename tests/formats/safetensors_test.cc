#include "formats/safetensors.h"

#include <gmock/gmock.h>

#include <cstring>
#include <filesystem>

#include "base/file.h"
#include "base/temp_dir.h"
#include "formats/safetensors_testing.h"
#include "rondo/error.h"

namespace rondo {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;

std::string FloatBytes(std::initializer_list<float> values) {
  std::string bytes(values.size() * sizeof(float), '\0');
  std::memcpy(bytes.data(), std::data(values), bytes.size());
  return bytes;
}

TEST(Safetensors, ReadsTheBytesOfTheFormat) {
  TempDir dir;
  // bf16 1.0 is 0x3f80, f16 1.0 is 0x3c00.
  WriteBytes(dir.File("a.safetensors"),
             SafetensorsBytes(R"({"__metadata__": {"format": "pt"},
                "w": {"dtype": "F32", "shape": [2, 1], "data_offsets": [0, 8]},
                "b": {"dtype": "BF16", "shape": [1], "data_offsets": [8, 10]},
                "h": {"dtype": "F16", "shape": [], "data_offsets": [10, 12]}}   )",
                              FloatBytes({1.5f, -2}) + std::string("\x80\x3f\x00\x3c", 4)));
  const TensorMap tensors = ReadSafetensors(dir.File("a.safetensors"));
  ASSERT_EQ(tensors.size(), 3u);
  EXPECT_EQ(tensors.at("w").shape(), (Shape{2, 1}));
  EXPECT_THAT(ToF32(tensors.at("w")), ElementsAre(1.5f, -2));
  EXPECT_EQ(tensors.at("b").dtype(), DType::kBF16);
  EXPECT_THAT(ToF32(tensors.at("b")), ElementsAre(1));
  EXPECT_THAT(ToF32(tensors.at("h")), ElementsAre(1));
}

TEST(Safetensors, MisalignedTensorsAreReadableAsFloats) {
  TempDir dir;
  for (int shift = 0; shift < 4; ++shift) {  // spaces move the data off its alignment
    const std::string header = R"({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}})" +
                               std::string(static_cast<size_t>(shift), ' ');
    WriteBytes(dir.File("a.safetensors"), SafetensorsBytes(header, FloatBytes({3, 4})));
    const TensorMap tensors = ReadSafetensors(dir.File("a.safetensors"));
    EXPECT_THAT(tensors.at("w").f32(), ElementsAre(3, 4)) << shift;
  }
}

TEST(Safetensors, TensorsOutliveTheMap) {
  TempDir dir;
  WriteSafetensors(dir.File("a"), {{"w", Tensor::FromF32({2}, std::vector<float>{5, 6})}});
  Tensor tensor = ReadSafetensors(dir.File("a")).at("w");
  fs::remove(dir.File("a"));
  EXPECT_THAT(tensor.f32(), ElementsAre(5, 6));
}

TEST(Safetensors, WritesWhatItReadsInTheOrderGiven) {
  TempDir dir;
  const Tensor f32 = Tensor::FromF32({2, 2}, std::vector<float>{1, 2, 3, 4});
  const Tensor bf16 = Cast(Tensor::FromF32({3}, std::vector<float>{1, -1, 0.5f}), DType::kBF16);
  WriteSafetensors(
      dir.File("a"),
      {{"z", f32}, {"a", bf16}, {"empty", Tensor::FromF32({0}, std::vector<float>())}});
  const TensorMap tensors = ReadSafetensors(dir.File("a"));
  EXPECT_THAT(tensors.at("z").f32(), ElementsAre(1, 2, 3, 4));
  EXPECT_THAT(ToF32(tensors.at("a")), ElementsAre(1, -1, 0.5f));
  EXPECT_EQ(tensors.at("empty").shape(), Shape{0});
  const std::string bytes = ReadTextFile(dir.File("a"));
  EXPECT_LT(bytes.find("\"z\""), bytes.find("\"a\""));
  EXPECT_EQ((8 + static_cast<unsigned char>(bytes[0])) % 64, 0) << "data starts aligned";
}

TEST(Safetensors, QuantisedTensorsAndDoubledNamesAreNotWritten) {
  TempDir dir;
  const Tensor q8 = Tensor::FromBytes(DType::kQ8_0, {32}, std::vector<std::byte>(34));
  EXPECT_THAT(
      [&] {
        WriteSafetensors(dir.File("a"), {{"w", q8}});
      },
      ThrowsMessage<Error>(HasSubstr("w: type q8_0")));
  const Tensor one = Tensor::FromF32({1}, std::vector<float>{1});
  EXPECT_THAT(
      [&] {
        WriteSafetensors(dir.File("a"), {{"w", one}, {"w", one}});
      },
      ThrowsMessage<Error>(HasSubstr("w: name given twice")));
  EXPECT_FALSE(fs::exists(dir.File("a")));
}

TEST(Safetensors, UnwantedTensorsMayHaveAnyType) {
  TempDir dir;
  WriteBytes(dir.File("a"),
             SafetensorsBytes(R"({"mask": {"dtype": "BOOL", "shape": [4], "data_offsets": [0, 4]},
                "w": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}})",
                              std::string(4, '\1') + FloatBytes({7})));
  EXPECT_THAT([&] { ReadSafetensors(dir.File("a")); },
              ThrowsMessage<Error>(HasSubstr("mask: type BOOL")));
  const auto tensors =
      ReadSafetensors(dir.File("a"), [](std::string_view name) { return name != "mask"; });
  EXPECT_EQ(tensors.size(), 1u);
  EXPECT_THAT(ToF32(tensors.at("w")), ElementsAre(7));
}

// As numpy and merges in double precision write them; here at an odd address as well.
TEST(Safetensors, DoublesBecomeFloats) {
  TempDir dir;
  const double values[] = {1.5, -0.1};
  std::string data(1, '\0');
  data.append(reinterpret_cast<const char*>(values), sizeof(values));
  WriteBytes(dir.File("a"),
             SafetensorsBytes(R"({"odd": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]},
                "w": {"dtype": "F64", "shape": [2], "data_offsets": [1, 17]}})",
                              data));
  const auto tensors =
      ReadSafetensors(dir.File("a"), [](std::string_view name) { return name == "w"; });
  EXPECT_EQ(tensors.at("w").dtype(), DType::kF32);
  EXPECT_THAT(ToF32(tensors.at("w")), ElementsAre(1.5f, -0.1f));
}

// Five tensors of 40 bytes.
std::vector<TensorSource> FiveTensors() {
  std::vector<TensorSource> sources;
  for (int i = 0; i < 5; ++i) {
    sources.push_back({"t" + std::to_string(i), DType::kF32, {10}, [i] {
                         return Tensor::FromF32({10}, std::vector<float>(10, float(i)));
                       }});
  }
  return sources;
}

TEST(SafetensorsModel, SplitsIntoShardsAndReadsThemBack) {
  for (const auto& [limit, files] : {std::pair{200, 1}, {199, 3}, {100, 4}, {1, 6}}) {
    TempDir dir;
    fs::create_directories(dir.File("m"));
    WriteSafetensorsModel(dir.File("m"), FiveTensors(), static_cast<uint64_t>(limit));
    const auto count = std::distance(fs::directory_iterator(dir.File("m")), {});
    EXPECT_EQ(count, files) << "at most " << limit << " bytes a shard, and an index if several";
    const TensorMap tensors = ReadSafetensorsModel(dir.File("m"));
    ASSERT_EQ(tensors.size(), 5u);
    EXPECT_EQ(tensors.at("t3").f32()[9], 3);
  }
}

TEST(SafetensorsModel, ASourceThatMakesSomethingElseIsAnError) {
  TempDir dir;
  std::vector<TensorSource> sources = FiveTensors();
  sources[2].shape = {5, 2};
  EXPECT_THAT([&] { WriteSafetensorsModel(dir.File(""), sources); },
              ThrowsMessage<Error>(HasSubstr("t2: shape [10] was made")));
  EXPECT_TRUE(fs::is_empty(dir.File(""))) << "no half-written file stays";
}

}  // namespace
}  // namespace rondo
