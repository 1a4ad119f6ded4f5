#include "formats/file_kind.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <string_view>

#include "base/file.h"
#include "base/strings.h"

namespace rondo {
namespace {

namespace fs = std::filesystem;
using namespace std::string_view_literals;

constexpr std::string_view kConvert =
    "safetensors: load it in transformers and save_pretrained() it to a new directory";
constexpr std::string_view kUnpack = "the file inside: unpack it first";
constexpr std::string_view kGgmlHint = "GGUF: convert the original model with today's llama.cpp";

struct Signature {
  size_t offset;
  std::string_view bytes;
  std::string_view what;
  std::string_view hint;
};

constexpr Signature kSignatures[] = {
    {0, "PK\x03\x04"sv, "a zip archive, as PyTorch writes checkpoints", kConvert},
    {0, "\x80\x02"sv, "a Python pickle, as PyTorch writes checkpoints", kConvert},
    {0, "\x80\x03"sv, "a Python pickle", kConvert},
    {0, "\x80\x04"sv, "a Python pickle", kConvert},
    {0, "\x80\x05"sv, "a Python pickle", kConvert},
    {0, "\x89HDF\r\n"sv, "an HDF5 file, as Keras and TensorFlow write it", kConvert},
    {0, "\x93NUMPY"sv, "a NumPy array", kConvert},
    {4, "TFL3"sv, "a TensorFlow Lite model", kConvert},
    {0, "lmgg"sv, "a GGML file, the form before GGUF", kGgmlHint},
    {0, "fmgg"sv, "a GGMF file, the form before GGUF", kGgmlHint},
    {0, "tjgg"sv, "a GGJT file, the form before GGUF", kGgmlHint},
    {0, "algg"sv, "an adapter in the form before GGUF", kGgmlHint},
    {0, "version https://git-lfs"sv, "a Git LFS pointer, not the file that it stands for",
     "the file: git lfs pull"},
    {0, "<!DOCTYPE"sv, "a web page", "the file: its download failed"},
    {0, "<!doctype"sv, "a web page", "the file: its download failed"},
    {0, "<html"sv, "a web page", "the file: its download failed"},
    {0, "\x1f\x8b"sv, "a gzip file", kUnpack},
    {0, "BZh"sv, "a bzip2 file", kUnpack},
    {0,
     "\xfd"
     "7zXZ"sv,
     "an xz file", kUnpack},
    {0, "\x28\xb5\x2f\xfd"sv, "a zstd file", kUnpack},
    {0, "7z\xbc\xaf\x27\x1c"sv, "a 7z archive", kUnpack},
    {257, "ustar"sv, "a tar archive", kUnpack},
    {0,
     "\x7f"
     "ELF"sv,
     "a program", "a model"},
    {0, "RIFF"sv, "a sound or picture", "a model"},
};

// The length that a safetensors file begins with, and the brace of its header.
bool IsSafetensors(std::string_view head, uint64_t file_bytes) {
  constexpr size_t kLengthBytes = 8;
  if (head.size() <= kLengthBytes || head[kLengthBytes] != '{') return false;
  uint64_t length;
  std::memcpy(&length, head.data(), sizeof(length));
  return length >= 2 && length <= file_bytes - kLengthBytes;
}

std::string ReadHead(const std::string& path) {
  constexpr size_t kHead = 512;
  const auto file = MappedFile::Open(path);
  const auto head = file->bytes().first(std::min(kHead, file->bytes().size()));
  return {reinterpret_cast<const char*>(head.data()), head.size()};
}

// Endings of weight files of other programs.
constexpr std::string_view kForeignEndings[] = {
    ".bin", ".bin.index.json", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".onnx", ".pdparams"};

}  // namespace

FileContent ContentOf(const std::string& path) {
  const std::string head = ReadHead(path);
  if (head.starts_with("GGUF")) return {.kind = FileKind::kGguf, .what = {}, .hint = {}};
  for (const Signature& s : kSignatures) {
    if (head.size() < s.offset || !std::string_view(head).substr(s.offset).starts_with(s.bytes)) {
      continue;
    }
    return {FileKind::kForeign, std::string(s.what), std::string(s.hint)};
  }
  if (IsSafetensors(head, fs::file_size(path))) return {FileKind::kSafetensors, {}, {}};
  if (Trim(head).starts_with('{')) return {FileKind::kJson, {}, {}};
  return {};
}

std::string ForeignWeightsIn(const std::string& directory) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(directory)) {
    const std::string name = entry.path().filename().string();
    if (name == "training_args.bin") continue;
    if (name.ends_with(".gguf")) return name + ", which is a model of its own: name that file";
    const bool foreign = std::ranges::any_of(
        kForeignEndings, [&](std::string_view ending) { return name.ends_with(ending); });
    if (foreign) names.push_back(name);
  }
  if (names.empty()) return {};
  std::ranges::sort(names);
  constexpr size_t kShown = 3;
  if (names.size() > kShown) {
    names.resize(kShown);
    names.emplace_back("…");
  }
  return Join(names, ", ") +
         "; load it in transformers and save_pretrained() it to a new directory";
}

}  // namespace rondo
