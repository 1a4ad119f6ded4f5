#include <algorithm>
#include <bit>
#include <cstring>
#include <span>
#include <utility>

#include "base/file.h"
#include "formats/gguf.h"
#include "formats/gguf_types.h"
#include "rondo/error.h"

namespace rondo {
namespace {

static_assert(std::endian::native == std::endian::little, "GGUF is read as little-endian");

constexpr uint64_t kMinAlignment = 8;  // of the specification; also suffices for every element
constexpr uint64_t kMaxAlignment = uint64_t{1} << 20;
// Least bytes of a metadata entry (empty key, one-byte value) and of a tensor's description.
constexpr uint64_t kMinEntryBytes = 8 + 4 + 1;
constexpr uint64_t kMinTensorBytes = 8 + 4 + 8 + 4 + 8;

// Walks over the file; every read is checked against its end. `field` is what errors name.
class Cursor {
 public:
  Cursor(std::span<const std::byte> bytes, const std::string& file) : bytes_(bytes), file_(file) {}

  std::string field = "header";

  uint64_t offset() const { return offset_; }
  uint64_t remaining() const { return bytes_.size() - offset_; }
  const std::string& file() const { return file_; }

  [[noreturn]] void Fail(std::string problem, std::string expected = {}) const {
    throw Error({.function = "ReadGguf",
                 .problem = std::move(problem),
                 .expected = std::move(expected),
                 .file = file_,
                 .field = field});
  }

  const std::byte* Take(uint64_t size) {
    if (size > remaining()) {
      Fail("truncated: " + std::to_string(size) + " bytes wanted at offset " +
               std::to_string(offset_),
           "at most the " + std::to_string(remaining()) + " bytes left in the file");
    }
    const std::byte* at = bytes_.data() + offset_;
    offset_ += size;
    return at;
  }

  template <typename T>
  T Read() {
    T value;
    std::memcpy(&value, Take(sizeof(T)), sizeof(T));
    return value;
  }

  // A view of the file itself, not a copy.
  std::string_view String(const char* what, uint64_t max_length) {
    const uint64_t length = Read<uint64_t>();
    if (length > remaining() || length > max_length) {
      Fail(std::string(what) + " length " + std::to_string(length),
           "at most " + std::to_string(std::min(remaining(), max_length)));
    }
    const std::byte* text = Take(length);
    return {reinterpret_cast<const char*>(text), static_cast<size_t>(length)};
  }

  // A count of items that take at least `item_bytes` each.
  uint64_t Count(const char* what, uint64_t count, uint64_t item_bytes) const {
    if (count > remaining() / item_bytes) {
      Fail(std::string(what) + " " + std::to_string(count),
           "at most " + std::to_string(remaining() / item_bytes) + " in the rest of the file");
    }
    return count;
  }

 private:
  std::span<const std::byte> bytes_;
  const std::string& file_;
  uint64_t offset_ = 0;
};

bool ReadBool(Cursor& in) {
  const auto value = in.Read<uint8_t>();
  if (value > 1) in.Fail("boolean " + std::to_string(value), "0 or 1");
  return value == 1;
}

GgufValueType ReadValueType(Cursor& in) {
  const auto number = in.Read<uint32_t>();
  if (number >= kGgufValueTypes) {
    in.Fail("value type " + std::to_string(number), "0 to " + std::to_string(kGgufValueTypes - 1));
  }
  return static_cast<GgufValueType>(number);
}

template <typename Stored>
std::vector<int64_t> ReadInts(Cursor& in, uint64_t count) {
  in.Count("array length", count, sizeof(Stored));
  const std::byte* data = in.Take(count * sizeof(Stored));
  std::vector<int64_t> out(count);
  for (uint64_t i = 0; i < count; ++i) {
    Stored value;
    std::memcpy(&value, data + i * sizeof(Stored), sizeof(Stored));
    if (!std::in_range<int64_t>(value)) {
      in.Fail("array element " + std::to_string(value), "at most 9223372036854775807");
    }
    out[i] = static_cast<int64_t>(value);
  }
  return out;
}

template <typename Stored>
std::vector<double> ReadFloats(Cursor& in, uint64_t count) {
  in.Count("array length", count, sizeof(Stored));
  const std::byte* data = in.Take(count * sizeof(Stored));
  std::vector<double> out(count);
  for (uint64_t i = 0; i < count; ++i) {
    Stored value;
    std::memcpy(&value, data + i * sizeof(Stored), sizeof(Stored));
    out[i] = value;
  }
  return out;
}

std::vector<bool> ReadBools(Cursor& in, uint64_t count) {
  std::vector<bool> out(in.Count("array length", count, 1));
  for (uint64_t i = 0; i < count; ++i) out[i] = ReadBool(in);
  return out;
}

std::vector<std::string_view> ReadStrings(Cursor& in, uint64_t count) {
  in.Count("array length", count, sizeof(uint64_t));
  std::vector<std::string_view> out;
  out.reserve(count);
  for (uint64_t i = 0; i < count; ++i) out.push_back(in.String("string", in.remaining()));
  return out;
}

GgufValue ReadArray(Cursor& in) {
  const GgufValueType type = ReadValueType(in);
  const auto count = in.Read<uint64_t>();
  switch (type) {
    case GgufValueType::kU8:
      return ReadInts<uint8_t>(in, count);
    case GgufValueType::kI8:
      return ReadInts<int8_t>(in, count);
    case GgufValueType::kU16:
      return ReadInts<uint16_t>(in, count);
    case GgufValueType::kI16:
      return ReadInts<int16_t>(in, count);
    case GgufValueType::kU32:
      return ReadInts<uint32_t>(in, count);
    case GgufValueType::kI32:
      return ReadInts<int32_t>(in, count);
    case GgufValueType::kU64:
      return ReadInts<uint64_t>(in, count);
    case GgufValueType::kI64:
      return ReadInts<int64_t>(in, count);
    case GgufValueType::kF32:
      return ReadFloats<float>(in, count);
    case GgufValueType::kF64:
      return ReadFloats<double>(in, count);
    case GgufValueType::kBool:
      return ReadBools(in, count);
    case GgufValueType::kString:
      return ReadStrings(in, count);
    case GgufValueType::kArray:
      break;
  }
  in.Fail("array of arrays", "an array of numbers, booleans or strings");
}

GgufValue ReadValue(Cursor& in) {
  switch (ReadValueType(in)) {
    case GgufValueType::kU8:
      return uint64_t{in.Read<uint8_t>()};
    case GgufValueType::kI8:
      return int64_t{in.Read<int8_t>()};
    case GgufValueType::kU16:
      return uint64_t{in.Read<uint16_t>()};
    case GgufValueType::kI16:
      return int64_t{in.Read<int16_t>()};
    case GgufValueType::kU32:
      return uint64_t{in.Read<uint32_t>()};
    case GgufValueType::kI32:
      return int64_t{in.Read<int32_t>()};
    case GgufValueType::kU64:
      return in.Read<uint64_t>();
    case GgufValueType::kI64:
      return in.Read<int64_t>();
    case GgufValueType::kF32:
      return double{in.Read<float>()};
    case GgufValueType::kF64:
      return in.Read<double>();
    case GgufValueType::kBool:
      return ReadBool(in);
    case GgufValueType::kString:
      return std::string(in.String("string", in.remaining()));
    case GgufValueType::kArray:
      break;
  }
  return ReadArray(in);
}

struct TensorEntry {
  std::string name;
  DType dtype;
  Shape shape;
  uint64_t offset;  // from the start of the data section
  uint64_t size;
};

Shape ReadShape(Cursor& in) {
  const auto dims = in.Read<uint32_t>();
  if (dims < 1 || dims > kGgufMaxDims) {
    in.Fail(std::to_string(dims) + " dimensions", "1 to " + std::to_string(kGgufMaxDims));
  }
  Shape shape(dims);
  // GGUF lists the innermost (contiguous) dimension first.
  for (auto dim = shape.rbegin(); dim != shape.rend(); ++dim) {
    const auto size = in.Read<uint64_t>();
    if (size == 0 || !std::in_range<int64_t>(size)) {
      in.Fail("dimension " + std::to_string(size), "1 to 9223372036854775807");
    }
    *dim = static_cast<int64_t>(size);
  }
  return shape;
}

TensorEntry ReadTensorEntry(Cursor& in) {
  in.field = "tensor names";
  TensorEntry entry;
  entry.name = in.String("tensor name", kGgufMaxTensorName);
  if (entry.name.empty()) in.Fail("empty tensor name");
  in.field = entry.name;
  entry.shape = ReadShape(in);
  entry.dtype = DTypeFromGgufNumber(in.Read<uint32_t>(), in.file(), entry.name);
  entry.offset = in.Read<uint64_t>();
  try {
    entry.size = StorageBytes(entry.dtype, entry.shape);
  } catch (const Error& error) {  // name file and tensor, which StorageBytes does not know
    in.Fail(error.info().problem, error.info().expected);
  }
  return entry;
}

void CheckHeader(Cursor& in) {
  if (in.Read<uint32_t>() != kGgufMagic) in.Fail("not a GGUF file", "the letters GGUF first");
  const auto version = in.Read<uint32_t>();
  if (version == 2 || version == kGgufVersion) return;
  const bool swapped = (version & 0xffffu) == 0;
  in.field = "version";
  in.Fail(swapped ? "big-endian file" : "version " + std::to_string(version),
          "a little-endian file of version 2 or 3");
}

uint64_t AlignmentOf(const GgufFile& file, Cursor& in) {
  in.field = "general.alignment";
  const int64_t alignment = file.Int("general.alignment", kGgufDefaultAlignment);
  const auto value = static_cast<uint64_t>(alignment);
  if (alignment < 0 || !std::has_single_bit(value) || value < kMinAlignment ||
      value > kMaxAlignment) {
    in.Fail("alignment " + std::to_string(alignment), "a power of two from " +
                                                          std::to_string(kMinAlignment) + " to " +
                                                          std::to_string(kMaxAlignment));
  }
  return value;
}

// Every tensor lies aligned inside the data section and none overlaps another.
void CheckPlaces(std::vector<TensorEntry>& entries, uint64_t alignment, uint64_t data_size,
                 Cursor& in) {
  std::sort(entries.begin(), entries.end(),
            [](const TensorEntry& a, const TensorEntry& b) { return a.offset < b.offset; });
  uint64_t end = 0;
  const TensorEntry* previous = nullptr;
  for (const TensorEntry& entry : entries) {
    in.field = entry.name;
    if (entry.offset % alignment != 0) {
      in.Fail("offset " + std::to_string(entry.offset),
              "a multiple of the alignment " + std::to_string(alignment));
    }
    if (entry.offset > data_size || entry.size > data_size - entry.offset) {
      in.Fail("data outside the file: " + std::to_string(entry.size) + " bytes at offset " +
                  std::to_string(entry.offset),
              "an end within the " + std::to_string(data_size) + " bytes of tensor data");
    }
    if (entry.offset < end) in.Fail("overlaps tensor " + previous->name);
    end = entry.offset + entry.size;
    previous = &entry;
  }
}

}  // namespace

GgufFile GgufFile::Open(const std::string& path) {
  GgufFile file;
  file.path_ = path;
  file.mapped_ = MappedFile::Open(path);
  const std::span<const std::byte> bytes = file.mapped_->bytes();
  Cursor in(bytes, file.path_);
  CheckHeader(in);
  in.field = "tensor_count";
  const auto tensor_count = in.Read<uint64_t>();
  in.Count("tensor count", tensor_count, kMinTensorBytes);
  in.field = "metadata_kv_count";
  const auto entry_count = in.Read<uint64_t>();
  in.Count("metadata count", entry_count, kMinEntryBytes);

  for (uint64_t i = 0; i < entry_count; ++i) {
    in.field = "metadata keys";
    std::string key(in.String("key", kGgufMaxKey));
    if (key.empty()) in.Fail("empty key");
    in.field = key;
    if (file.metadata_.contains(key)) in.Fail("duplicate key");
    GgufValue value = ReadValue(in);
    file.metadata_.emplace(std::move(key), std::move(value));
  }
  in.field = "split.count";
  if (const int64_t parts = file.Int("split.count", 1); parts > 1) {
    in.Fail("one of " + std::to_string(parts) + " parts of a split model",
            "a whole model; join the parts with llama-gguf-split --merge");
  }
  const uint64_t alignment = AlignmentOf(file, in);

  std::vector<TensorEntry> entries;
  for (uint64_t i = 0; i < tensor_count; ++i) entries.push_back(ReadTensorEntry(in));
  const uint64_t data_start = (in.offset() + alignment - 1) / alignment * alignment;
  const auto data = bytes.subspan(std::min<uint64_t>(data_start, bytes.size()));
  CheckPlaces(entries, alignment, data.size(), in);
  for (TensorEntry& entry : entries) {
    in.field = entry.name;
    Tensor tensor(entry.dtype, std::move(entry.shape), data.subspan(entry.offset, entry.size),
                  file.mapped_);
    if (!file.tensors_.emplace(entry.name, std::move(tensor)).second) in.Fail("duplicate tensor");
  }
  return file;
}

}  // namespace rondo
