// Hostile and broken safetensors files and indexes: each ends in an Error that names the file and
// says what is wrong.
#include <gmock/gmock.h>

#include <filesystem>

#include "base/temp_dir.h"
#include "formats/safetensors.h"
#include "formats/safetensors_testing.h"
#include "rondo/error.h"

namespace rondo {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::ThrowsMessage;

struct BadFile {
  const char* name;
  std::string bytes;
  const char* words;
};
void PrintTo(const BadFile& bad, std::ostream* out) { *out << bad.name; }

class MalformedSafetensors : public testing::TestWithParam<BadFile> {};

TEST_P(MalformedSafetensors, IsAnErrorNamingTheFile) {
  TempDir dir;
  WriteBytes(dir.File("bad.safetensors"), GetParam().bytes);
  EXPECT_THAT(
      [&] { ReadSafetensors(dir.File("bad.safetensors")); },
      ThrowsMessage<Error>(AllOf(HasSubstr("bad.safetensors: "), HasSubstr(GetParam().words))));
}

// A file with the given entries and `data` zero bytes.
std::string File(const std::string& header, size_t data = 0) {
  return SafetensorsBytes(header, std::string(data, '\0'));
}

std::string Entry(const std::string& shape, const std::string& offsets,
                  const std::string& dtype = "\"F32\"") {
  return R"({"dtype": )" + dtype + R"(, "shape": )" + shape + R"(, "data_offsets": )" + offsets +
         "}";
}

std::string OneTensor(const std::string& entry, size_t data) {
  return File(R"({"w": )" + entry + "}", data);
}

std::string Deep() { return std::string(100'000, '['); }

INSTANTIATE_TEST_SUITE_P(
    Files, MalformedSafetensors,
    testing::Values(
        BadFile{"empty file", "", "0 bytes (expected at least 8)"},
        BadFile{"only part of the length", std::string(5, '\1'), "5 bytes"},
        BadFile{"header longer than the file", LengthBytes(100) + "{}", "length 100"},
        BadFile{"header of 2^64-1 bytes", LengthBytes(UINT64_MAX) + "{}",
                "length 18446744073709551615"},
        BadFile{"header truncated inside the JSON", SafetensorsBytes(R"({"w": {"dty)", ""),
                "valid JSON"},
        BadFile{"header no JSON", File("garbage"), "valid JSON"},
        BadFile{"header empty", File(""), "valid JSON"},
        BadFile{"header an array", File("[]"), "expected an object"},
        BadFile{"header deeply nested", File(Deep()), "deeper than 64"},
        BadFile{"invalid UTF-8 in a name", File("{\"\xff\xfe\": 1}"), "valid JSON"},
        BadFile{"metadata no object", File(R"({"__metadata__": 3})"), "__metadata__: 3"},
        BadFile{"metadata no strings", File(R"({"__metadata__": {"a": 1}})"), "__metadata__.a"},
        BadFile{"entry no object", File(R"({"w": 1})"), "w: 1 (expected an object)"},
        BadFile{"no dtype", OneTensor(R"({"shape": [1], "data_offsets": [0, 4]})", 4),
                "w.dtype: missing"},
        BadFile{"dtype no string", OneTensor(Entry("[1]", "[0, 4]", "32"), 4), "w.dtype: 32"},
        BadFile{"unknown dtype", OneTensor(Entry("[1]", "[0, 4]", "\"F99\""), 4), "w: type F99"},
        BadFile{"integer tensor", OneTensor(Entry("[1]", "[0, 8]", "\"I64\""), 8), "w: type I64"},
        BadFile{"no shape", OneTensor(R"({"dtype": "F32", "data_offsets": [0, 4]})", 4),
                "w.shape: missing"},
        BadFile{"negative dimension", OneTensor(Entry("[-1]", "[0, 4]"), 4), "w.shape: -1"},
        BadFile{"fractional dimension", OneTensor(Entry("[1.5]", "[0, 4]"), 4), "w.shape: 1.5"},
        BadFile{"dimension above 2^63", OneTensor(Entry("[9223372036854775808]", "[0, 4]"), 4),
                "w.shape: 9223372036854775808"},
        BadFile{"shape overflows", OneTensor(Entry("[4294967296, 4294967296]", "[0, 4]"), 4),
                "overflows"},
        BadFile{"bytes overflow", OneTensor(Entry("[4611686018427387904]", "[0, 4]"), 4),
                "overflows"},
        BadFile{"many dimensions", OneTensor(Entry("[1,1,1,1,1,1,1,1,1]", "[0, 4]"), 4),
                "9 dimensions"},
        BadFile{"shape larger than the data", OneTensor(Entry("[2]", "[0, 4]"), 4),
                "w: 4 bytes for shape [2]"},
        BadFile{"shape smaller than the data", OneTensor(Entry("[1]", "[0, 8]"), 8),
                "w: 8 bytes for shape [1]"},
        BadFile{"misaligned and too small",
                SafetensorsBytes(
                    R"({"a": {"dtype": "F16", "shape": [1], "data_offsets": [0, 2]},
                        "w": {"dtype": "F32", "shape": [2], "data_offsets": [2, 6]}})",
                    std::string(6, '\0')),
                "w: 4 bytes for shape [2]"},
        BadFile{"no offsets", OneTensor(R"({"dtype": "F32", "shape": [1]})", 4),
                "w.data_offsets: missing"},
        BadFile{"one offset", OneTensor(Entry("[1]", "[4]"), 4), "w.data_offsets"},
        BadFile{"negative offset", OneTensor(Entry("[1]", "[-4, 0]"), 4), "w.data_offsets: -4"},
        BadFile{"end before begin", OneTensor(Entry("[1]", "[4, 0]"), 4), "w.data_offsets"},
        BadFile{"data past the end", OneTensor(Entry("[2]", "[0, 8]"), 4), "ends at byte 8"},
        BadFile{"data far past the end",
                OneTensor(Entry("[1]", "[9223372036854775800, 9223372036854775804]"), 4),
                "ends at byte 9223372036854775804"},
        BadFile{"truncated data", OneTensor(Entry("[256]", "[0, 1024]"), 1023),
                "ends at byte 1024"},
        BadFile{"hole at the start", OneTensor(Entry("[1]", "[4, 8]"), 8), "w: a hole"},
        BadFile{"bytes after the last tensor", OneTensor(Entry("[1]", "[0, 4]"), 8),
                "4 bytes after the last tensor"},
        BadFile{"overlap",
                File(R"({"a": )" + Entry("[2]", "[0, 8]") + R"(, "b": )" + Entry("[2]", "[4, 12]") +
                         "}",
                     12),
                "b: data overlaps"},
        BadFile{
            "the same bytes twice",
            File(R"({"a": )" + Entry("[2]", "[0, 8]") + R"(, "b": )" + Entry("[2]", "[0, 8]") + "}",
                 8),
            "data overlaps"},
        BadFile{"hole in the middle",
                File(R"({"a": )" + Entry("[1]", "[0, 4]") + R"(, "b": )" + Entry("[1]", "[8, 12]") +
                         "}",
                     12),
                "b: a hole"},
        BadFile{
            "name twice",
            File(R"({"w": )" + Entry("[1]", "[0, 4]") + R"(, "w": )" + Entry("[1]", "[4, 8]") + "}",
                 8),
            "w: key occurs twice"},
        BadFile{"unknown key",
                OneTensor(R"({"dtype": "F32", "shape": [1], "data_offsets": [0, 4],
                                             "strides": [1]})",
                          4),
                "w.strides: unknown key"}));

struct BadIndex {
  const char* name;
  std::string json;
  const char* words;
};
void PrintTo(const BadIndex& bad, std::ostream* out) { *out << bad.name; }

class MalformedIndex : public testing::TestWithParam<BadIndex> {};

// Beside the index lie two shards: one.safetensors with tensors a and b, two.safetensors with c.
TEST_P(MalformedIndex, IsAnErrorSayingWhy) {
  TempDir dir;
  const Tensor tensor = Tensor::FromF32({1}, std::vector<float>{1});
  WriteSafetensors(dir.File("one.safetensors"), {{"a", tensor}, {"b", tensor}});
  WriteSafetensors(dir.File("two.safetensors"), {{"c", tensor}});
  std::filesystem::create_directory(dir.File("folder.safetensors"));
  WriteBytes(dir.File("model.safetensors.index.json"), GetParam().json);
  EXPECT_THAT([&] { ReadSafetensorsModel(dir.File("")); },
              ThrowsMessage<Error>(HasSubstr(GetParam().words)));
}

std::string Index(const std::string& weight_map) {
  return R"({"weight_map": {)" + weight_map + "}}";
}

const char kRest[] = R"("a": "one.safetensors", "b": "one.safetensors", "c": "two.safetensors")";

INSTANTIATE_TEST_SUITE_P(
    Indexes, MalformedIndex,
    testing::Values(
        BadIndex{"no JSON", "}", "model.safetensors.index.json: "},
        BadIndex{"no map", "{}", "weight_map: missing"},
        BadIndex{"map no object", R"({"weight_map": []})", "weight_map: an array"},
        BadIndex{"shard no string", Index(R"("a": 1)"), "weight_map.a: 1"},
        BadIndex{"path upwards", Index(R"("a": "../one.safetensors")"), "beside the index"},
        BadIndex{"absolute path", Index(R"("a": "/etc/x.safetensors")"), "beside the index"},
        BadIndex{"path downwards", Index(R"("a": "x/one.safetensors")"), "beside the index"},
        BadIndex{"backslashes", Index(R"("a": "..\\one.safetensors")"), "beside the index"},
        BadIndex{"zero byte", Index(R"("a": "one\u0000.safetensors")"), "beside the index"},
        BadIndex{"another kind of file", Index(R"("a": "passwd")"), "beside the index"},
        BadIndex{"missing shard", Index(R"("a": "three.safetensors")"),
                 "three.safetensors: shard is missing"},
        BadIndex{"shard is a directory", Index(R"("a": "folder.safetensors")"),
                 "folder.safetensors: shard is missing"},
        BadIndex{"missing tensor", Index(std::string(kRest) + R"(, "d": "two.safetensors")"),
                 "two.safetensors: d: tensor that the index names is missing"},
        BadIndex{"tensor elsewhere",
                 Index(R"("a": "one.safetensors", "b": "two.safetensors", "c": "two.safetensors")"),
                 "one.safetensors: b: tensor that the index does not place here"},
        BadIndex{"tensor not named", Index(R"("a": "one.safetensors")"),
                 "b: tensor that the index does not place here"},
        BadIndex{"named twice", Index(std::string(kRest) + R"(, "a": "two.safetensors")"),
                 "a: key occurs twice"},
        BadIndex{"unknown key", R"({"weight_maps": {}, "weight_map": {}})",
                 "did you mean 'weight_map'"},
        BadIndex{"metadata no object", R"({"metadata": 3, "weight_map": {}})", "metadata: 3"}));

TEST(MalformedModel, ADirectoryWithoutWeightsIsAnError) {
  TempDir dir;
  EXPECT_THAT([&] { ReadSafetensorsModel(dir.File("")); },
              ThrowsMessage<Error>(HasSubstr("no weights (expected model.safetensors")));
}

}  // namespace
}  // namespace rondo
