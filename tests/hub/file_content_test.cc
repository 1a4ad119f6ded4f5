// Files that are no models: what they are is told by their bytes, and what to do about it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "base/file.h"
#include "base/temp_dir.h"
#include "rondo/error.h"
#include "rondo/model.h"

namespace rondo {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::ThrowsMessage;

struct Foreign {
  std::string bytes;
  const char* what;
  const char* hint;
};

TEST(FileContent, FilesOfOtherProgramsAreNamed) {
  TempDir dir;
  const Foreign cases[] = {{"PK\x03\x04 archive/data.pkl", "zip archive", "save_pretrained"},
                           {"\x80\x02}q\x00.", "Python pickle", "safetensors"},
                           {"\x89HDF\r\n\x1a\n", "HDF5", "safetensors"},
                           {"tjgg\x03", "GGJT", "llama.cpp"},
                           {"version https://git-lfs.github.com/spec/v1\noid sha256:00\n",
                            "Git LFS pointer", "git lfs pull"},
                           {"<!DOCTYPE html><html>", "web page", "download"},
                           {"\x1f\x8b\x08 ", "gzip", "unpack"},
                           {"hello, this is a letter and no model at all", "not a model", "GGUF"}};
  for (const char* name : {"model.bin", "model.safetensors", "sha256-00"}) {
    for (const Foreign& foreign : cases) {
      if (std::string(foreign.what) == "not a model" && std::string(name) == "model.bin") continue;
      WriteTextFile(dir.File(name), foreign.bytes);
      EXPECT_THAT([&] { LoadModel(dir.File(name)); },
                  ThrowsMessage<Error>(AllOf(HasSubstr(foreign.what), HasSubstr(foreign.hint))))
          << name;
    }
  }
}

TEST(FileContent, SafetensorsWithoutAConfigurationUnderAnyName) {
  TempDir dir;
  const std::string header = "{\"__metadata__\":{}}";
  std::string bytes(8, '\0');
  bytes[0] = static_cast<char>(header.size());
  for (const char* name : {"a.safetensors", "b.bin", "sha256-11"}) {
    WriteTextFile(dir.File(name), bytes + header);
    EXPECT_THAT([&] { LoadModel(dir.File(name)); },
                ThrowsMessage<Error>(HasSubstr("weights without a configuration")));
  }
}

TEST(FileContent, ADirectorySaysWhichForeignWeightsItHas) {
  TempDir dir;
  const char* config = R"({"model_type": "llama", "vocab_size": 16, "hidden_size": 8,
    "intermediate_size": 12, "num_hidden_layers": 1, "num_attention_heads": 4})";
  WriteTextFile(dir.File("config.json"), config);
  WriteTextFile(dir.File("pytorch_model.bin"), "PK\x03\x04");
  EXPECT_THAT([&] { LoadModel(dir.File("")); },
              ThrowsMessage<Error>(AllOf(HasSubstr("pytorch_model.bin"), HasSubstr("no weights"),
                                         HasSubstr("save_pretrained"))));
  std::filesystem::remove(dir.File("config.json"));
  WriteTextFile(dir.File("model-q4.gguf"), "GGUF");
  EXPECT_THAT([&] { LoadModel(dir.File("")); },
              ThrowsMessage<Error>(AllOf(HasSubstr("no config.json"), HasSubstr("model-q4.gguf"))));
}

TEST(FileContent, AGitLfsPointerInsideADirectoryIsNamed) {
  TempDir dir;
  const char* config = R"({"model_type": "llama", "vocab_size": 16, "hidden_size": 8,
    "intermediate_size": 12, "num_hidden_layers": 1, "num_attention_heads": 4})";
  WriteTextFile(dir.File("config.json"), config);
  WriteTextFile(dir.File("model.safetensors"), "version https://git-lfs.github.com/spec/v1\n");
  EXPECT_THAT([&] { LoadModel(dir.File("")); },
              ThrowsMessage<Error>(AllOf(HasSubstr("Git LFS"), HasSubstr("git lfs pull"))));
}

}  // namespace
}  // namespace rondo
