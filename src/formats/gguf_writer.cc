#include <algorithm>
#include <array>
#include <bit>
#include <utility>

#include "base/file.h"
#include "base/progress.h"
#include "formats/gguf.h"
#include "formats/gguf_types.h"
#include "rondo/error.h"

namespace rondo {
namespace {

static_assert(std::endian::native == std::endian::little, "GGUF is written as little-endian");

uint64_t Padding(uint64_t size) {
  return (kGgufDefaultAlignment - size % kGgufDefaultAlignment) % kGgufDefaultAlignment;
}

// Appends plain values to the file in GGUF's encoding.
struct Output {
  AtomicFile& file;

  template <typename T>
  requires std::is_arithmetic_v<T>
  void Put(T value) { file.Write(&value, sizeof(value)); }
  void Put(GgufValueType type) { Put(static_cast<uint32_t>(type)); }
  void Put(const std::string& text) {
    Put(static_cast<uint64_t>(text.size()));
    file.Write(text);
  }
  void Pad(uint64_t written) {
    static constexpr std::array<char, kGgufDefaultAlignment> kZeros{};
    file.Write(kZeros.data(), Padding(written));
  }

  void Value(uint32_t value) { PutTyped(GgufValueType::kU32, value); }
  void Value(int32_t value) { PutTyped(GgufValueType::kI32, value); }
  void Value(float value) { PutTyped(GgufValueType::kF32, value); }
  void Value(bool value) { PutTyped(GgufValueType::kBool, value); }
  void Value(const std::string& value) { PutTyped(GgufValueType::kString, value); }
  void Value(const std::vector<std::string>& values) { Array(GgufValueType::kString, values); }
  void Value(const std::vector<int32_t>& values) { Array(GgufValueType::kI32, values); }
  void Value(const std::vector<float>& values) { Array(GgufValueType::kF32, values); }

 private:
  template <typename T>
  void PutTyped(GgufValueType type, const T& value) {
    Put(type);
    Put(value);
  }
  template <typename T>
  void Array(GgufValueType type, const std::vector<T>& values) {
    Put(GgufValueType::kArray);
    Put(type);
    Put(static_cast<uint64_t>(values.size()));
    for (const T& value : values) Put(value);
  }
};

[[noreturn]] void FailTensor(const std::string& name, std::string problem, std::string expected) {
  throw Error({.function = "GgufWriter::AddTensor",
               .problem = std::move(problem),
               .expected = std::move(expected),
               .file = {},
               .field = name});
}

}  // namespace

void GgufWriter::Set(const std::string& key, WriterValue value) {
  if (key.empty() || key.size() > kGgufMaxKey) {
    throw Error({.function = "GgufWriter",
                 .problem = "key of " + std::to_string(key.size()) + " bytes",
                 .expected = "1 to " + std::to_string(kGgufMaxKey)});
  }
  const auto same = [&](const auto& entry) { return entry.first == key; };
  const auto found = std::find_if(metadata_.begin(), metadata_.end(), same);
  if (found != metadata_.end()) {
    found->second = std::move(value);
  } else {
    metadata_.emplace_back(key, std::move(value));
  }
}

void GgufWriter::SetU32(const std::string& key, uint32_t value) { Set(key, value); }
void GgufWriter::SetI32(const std::string& key, int32_t value) { Set(key, value); }
void GgufWriter::SetF32(const std::string& key, float value) { Set(key, value); }
void GgufWriter::SetBool(const std::string& key, bool value) { Set(key, value); }
void GgufWriter::SetString(const std::string& key, std::string value) {
  Set(key, std::move(value));
}
void GgufWriter::SetStrings(const std::string& key, std::vector<std::string> values) {
  Set(key, std::move(values));
}
void GgufWriter::SetI32s(const std::string& key, std::vector<int32_t> values) {
  Set(key, std::move(values));
}
void GgufWriter::SetF32s(const std::string& key, std::vector<float> values) {
  Set(key, std::move(values));
}

void GgufWriter::AddTensor(const std::string& name, Tensor tensor) {
  const DType dtype = tensor.dtype();
  const Shape shape = tensor.shape();
  AddTensor({name, dtype, shape, [tensor = std::move(tensor)] { return tensor; }});
}

void GgufWriter::AddTensor(TensorSource source) {
  const std::string& name = source.name;
  if (name.empty() || name.size() > kGgufMaxTensorName) {
    FailTensor(name, "name of " + std::to_string(name.size()) + " bytes",
               "1 to " + std::to_string(kGgufMaxTensorName));
  }
  const size_t dims = source.shape.size();
  if (dims < 1 || dims > kGgufMaxDims || ElementCount(source.shape) == 0) {
    FailTensor(name, "shape " + ToString(source.shape), "1 to 4 dimensions, none of them 0");
  }
  for (const TensorSource& other : tensors_) {
    if (other.name == name) FailTensor(name, "added twice", "one tensor of each name");
  }
  tensors_.push_back(std::move(source));
}

void GgufWriter::Write(const std::string& path, bool quiet) const {
  AtomicFile file(path);
  Output out{file};
  out.Put(kGgufMagic);
  out.Put(kGgufVersion);
  out.Put(static_cast<uint64_t>(tensors_.size()));
  out.Put(static_cast<uint64_t>(metadata_.size()));
  for (const auto& [key, value] : metadata_) {
    out.Put(key);
    std::visit([&](const auto& v) { out.Value(v); }, value);
  }
  uint64_t offset = 0;
  for (const TensorSource& source : tensors_) {
    out.Put(source.name);
    out.Put(static_cast<uint32_t>(source.shape.size()));
    for (auto dim = source.shape.rbegin(); dim != source.shape.rend(); ++dim) {
      out.Put(static_cast<uint64_t>(*dim));
    }
    out.Put(GgufTypeNumber(source.dtype));
    out.Put(offset);
    const uint64_t size = StorageBytes(source.dtype, source.shape);
    offset += size + Padding(size);
  }
  out.Pad(file.written());
  Progress progress("write", static_cast<int64_t>(tensors_.size()), quiet);
  for (const TensorSource& source : tensors_) {
    const Tensor tensor = source.make();
    if (tensor.dtype() != source.dtype || tensor.shape() != source.shape) {
      FailTensor(source.name, "shape " + ToString(tensor.shape()) + " was made",
                 ToString(source.shape) + " of type " + std::string(Info(source.dtype).name));
    }
    file.Write(tensor.bytes().data(), tensor.bytes().size());
    out.Pad(tensor.bytes().size());
    progress.Add();
  }
  file.Commit();
}

}  // namespace rondo
