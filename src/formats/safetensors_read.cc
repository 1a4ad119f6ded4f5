#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/file.h"
#include "base/json.h"
#include "base/with_file.h"
#include "formats/file_kind.h"
#include "formats/safetensors.h"
#include "rondo/error.h"

namespace rondo {
namespace {

using nlohmann::json;

constexpr size_t kLengthBytes = 8;
constexpr uint64_t kMaxHeader = 100'000'000;  // the limit of the reference implementation
constexpr size_t kMaxDimensions = 8;

struct Entry {
  std::string name;
  std::string dtype;
  Shape shape;
  uint64_t begin = 0, end = 0;  // bytes within the data section
};

[[noreturn]] void Fail(const std::string& path, const std::string& field, std::string problem,
                       std::string expected) {
  throw Error({.function = "ReadSafetensors",
               .problem = std::move(problem),
               .expected = std::move(expected),
               .file = path,
               .field = field});
}

constexpr std::string_view kDouble = "F64";

std::optional<DType> ParseDType(std::string_view name) {
  if (name == "F32") return DType::kF32;
  if (name == "F16") return DType::kF16;
  if (name == "BF16") return DType::kBF16;
  return std::nullopt;
}

// What a file that is none turns out to be.
[[noreturn]] void FailHeader(const std::string& path, std::string problem, std::string expected) {
  const FileContent content = ContentOf(path);
  if (content.kind == FileKind::kForeign) Fail(path, "header", content.what, content.hint);
  Fail(path, "header", std::move(problem), std::move(expected));
}

// The header's JSON text. Sets `data` to the bytes after it.
std::string_view ReadHeader(const MappedFile& file, std::span<const std::byte>* data) {
  const std::span<const std::byte> bytes = file.bytes();
  if (bytes.size() < kLengthBytes) {
    FailHeader(file.path(), std::to_string(bytes.size()) + " bytes", "at least 8");
  }
  uint64_t length = 0;
  for (size_t i = kLengthBytes; i-- > 0;)
    length = length << 8 | std::to_integer<uint64_t>(bytes[i]);
  const uint64_t limit = std::min<uint64_t>(bytes.size() - kLengthBytes, kMaxHeader);
  if (length > limit) {
    FailHeader(file.path(), "length " + std::to_string(length), "at most " + std::to_string(limit));
  }
  *data = bytes.subspan(kLengthBytes + length);
  return {reinterpret_cast<const char*>(bytes.data()) + kLengthBytes, length};
}

std::vector<uint64_t> Unsigneds(JsonObject& object, std::string_view key) {
  const json* value = object.Find(key);
  if (value == nullptr || !value->is_array()) {
    object.Fail(key, value ? JsonExcerpt(*value) : "missing", "an array of integers");
  }
  std::vector<uint64_t> out;
  for (const json& entry : *value) {
    const bool valid = entry.is_number_unsigned() && entry.get<uint64_t>() <= INT64_MAX;
    if (!valid) object.Fail(key, JsonExcerpt(entry), "an integer, 0 or more");
    out.push_back(entry.get<uint64_t>());
  }
  return out;
}

Entry ParseEntry(const std::string& name, JsonObject object) {
  Entry entry{.name = name, .dtype = object.String("dtype"), .shape = {}};
  for (const uint64_t dim : Unsigneds(object, "shape")) {
    entry.shape.push_back(static_cast<int64_t>(dim));
  }
  if (entry.shape.size() > kMaxDimensions) {
    object.Fail("shape", std::to_string(entry.shape.size()) + " dimensions", "at most 8");
  }
  const std::vector<uint64_t> offsets = Unsigneds(object, "data_offsets");
  if (offsets.size() != 2 || offsets[0] > offsets[1]) {
    object.Fail("data_offsets", "no range", "[begin, end]");
  }
  entry.begin = offsets[0];
  entry.end = offsets[1];
  object.RefuseUnknownKeys();
  return entry;
}

void CheckMetadata(JsonObject metadata) {
  for (const std::string& key : metadata.Keys()) metadata.String(key);
}

// Tensors must cover the data section exactly: no overlap, no hole, nothing left over.
void CheckCoverage(std::vector<Entry> entries, uint64_t data_bytes, const std::string& path) {
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  uint64_t covered = 0;
  for (const Entry& entry : entries) {
    if (entry.end > data_bytes) {
      Fail(path, entry.name, "data ends at byte " + std::to_string(entry.end),
           "at most " + std::to_string(data_bytes) + ", the size of the data section");
    }
    if (entry.begin != covered) {
      Fail(path, entry.name,
           entry.begin < covered ? "data overlaps the tensor before it"
                                 : "a hole of unused bytes before the data",
           "data from byte " + std::to_string(covered));
    }
    covered = entry.end;
  }
  if (covered != data_bytes) {
    Fail(path, "data_offsets",
         std::to_string(data_bytes - covered) + " bytes after the last tensor", "none");
  }
}

Tensor MakeTensor(const Entry& entry, std::span<const std::byte> data,
                  const std::shared_ptr<const MappedFile>& file) {
  const auto bytes = data.subspan(entry.begin, entry.end - entry.begin);
  if (entry.dtype == kDouble) return Tensor::FromF64Bytes(entry.shape, bytes);
  const DType dtype = *ParseDType(entry.dtype);
  const auto address = reinterpret_cast<uintptr_t>(bytes.data());
  if (address % static_cast<uintptr_t>(Info(dtype).block_bytes) == 0) {
    return Tensor(dtype, entry.shape, bytes, file);
  }
  const uint64_t needed = StorageBytes(dtype, entry.shape);
  if (needed != bytes.size())
    return Tensor(dtype, entry.shape, bytes, file);  // throws, naming sizes
  return Tensor::FromBytes(dtype, entry.shape, {bytes.begin(), bytes.end()});
}

}  // namespace

TensorMap ReadSafetensors(const std::string& path, const TensorFilter& wanted) {
  const auto file = MappedFile::Open(path);
  std::span<const std::byte> data;
  const json header = ParseJsonChecked(ReadHeader(*file, &data), path);
  JsonObject object(header, "ReadSafetensors", path);
  std::vector<Entry> entries;
  for (const std::string& name : object.Keys()) {
    if (name == "__metadata__") {
      CheckMetadata(object.Object(name));
    } else {
      entries.push_back(ParseEntry(name, object.Object(name)));
    }
  }
  CheckCoverage(entries, data.size(), path);

  TensorMap tensors;
  for (const Entry& entry : entries) {
    if (wanted && !wanted(entry.name)) continue;
    if (entry.dtype != kDouble && !ParseDType(entry.dtype)) {
      Fail(path, entry.name, "type " + entry.dtype, "F64, F32, F16 or BF16");
    }
    tensors[entry.name] = WithFile(
        path, [&] { return MakeTensor(entry, data, file); }, entry.name);
  }
  return tensors;
}

}  // namespace rondo
