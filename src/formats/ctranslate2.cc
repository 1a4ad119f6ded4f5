#include "formats/ctranslate2.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "base/file.h"
#include "base/with_file.h"
#include "rondo/error.h"

namespace rondo {
namespace {

constexpr uint32_t kOldest = 5, kNewest = 6;
constexpr size_t kMaxDimensions = 8;

enum class Type : uint8_t { kF32, kI8, kI16, kI32, kF16, kBF16 };
constexpr std::array<size_t, 6> kTypeBytes = {4, 1, 2, 4, 2, 2};

class Reader {
 public:
  explicit Reader(std::shared_ptr<const MappedFile> file)
      : file_(std::move(file)), rest_(file_->bytes()) {}

  template <typename T>
  T Number() {
    T value;
    std::memcpy(&value, Take(sizeof(T)).data(), sizeof(T));
    return value;
  }
  std::string Text() {
    const auto bytes = Take(Number<uint16_t>());
    const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    if (text.empty() || text.back() != '\0') Fail("a text without its end", "a model.bin");
    return std::string(text.substr(0, text.size() - 1));
  }
  std::span<const std::byte> Take(size_t size) {
    if (size > rest_.size()) {
      Fail("ends where " + std::to_string(size) + " bytes should follow", "a whole model.bin");
    }
    const auto taken = rest_.first(size);
    rest_ = rest_.subspan(size);
    return taken;
  }
  [[noreturn]] void Fail(std::string problem, std::string expected,
                         const std::string& field = {}) const {
    throw Error({.function = "ReadCTranslate2",
                 .problem = std::move(problem),
                 .expected = std::move(expected),
                 .file = file_->path(),
                 .field = field});
  }
  bool at_end() const { return rest_.empty(); }
  const std::shared_ptr<const MappedFile>& file() const { return file_; }

 private:
  std::shared_ptr<const MappedFile> file_;
  std::span<const std::byte> rest_;
};

int64_t ScalarOf(Type type, std::span<const std::byte> bytes) {
  const auto as = [&]<typename T>(T value) {
    std::memcpy(&value, bytes.data(), sizeof(T));
    return int64_t{value};
  };
  if (type == Type::kI8) return as(int8_t{});
  return type == Type::kI16 ? as(int16_t{}) : as(int32_t{});
}

std::optional<DType> PlainType(Type type) {
  if (type == Type::kF32) return DType::kF32;
  if (type == Type::kF16) return DType::kF16;
  if (type == Type::kBF16) return DType::kBF16;
  return std::nullopt;
}

// Data lies where its header happens to end; tensors must be aligned to their elements.
Tensor MakeTensor(DType dtype, Shape shape, std::span<const std::byte> bytes, const Reader& in) {
  const auto address = reinterpret_cast<uintptr_t>(bytes.data());
  if (address % 4 == 0) return Tensor(dtype, std::move(shape), bytes, in.file());
  return Tensor::FromBytes(dtype, std::move(shape), {bytes.begin(), bytes.end()});
}

void ReadVariable(Reader& in, CTranslate2Model& model) {
  const std::string name = in.Text();
  const size_t dimensions = in.Number<uint8_t>();
  if (dimensions > kMaxDimensions) {
    in.Fail(std::to_string(dimensions) + " dimensions", "at most 8", name);
  }
  Shape shape;
  for (size_t i = 0; i < dimensions; ++i) shape.push_back(in.Number<uint32_t>());
  const uint8_t code = in.Number<uint8_t>();
  if (code >= kTypeBytes.size()) in.Fail("type " + std::to_string(code), "0 to 5", name);
  const auto type = static_cast<Type>(code);
  const auto bytes = in.Take(in.Number<uint32_t>());
  const auto count = static_cast<uint64_t>(WithFile(
      in.file()->path(), [&] { return ElementCount(shape); }, name));
  if (count > bytes.size() || count * kTypeBytes[code] != bytes.size()) {
    in.Fail(std::to_string(bytes.size()) + " bytes for shape " + ToString(shape),
            std::to_string(kTypeBytes[code]) + " an element", name);
  }
  const std::optional<DType> plain = PlainType(type);
  if (plain && dimensions > 0) {
    model.tensors[name] = MakeTensor(*plain, std::move(shape), bytes, in);
  } else if (!plain && dimensions == 0) {
    model.integers[name] = ScalarOf(type, bytes);
  } else if (name.ends_with("weight")) {
    in.Fail("quantised weights", "f32, f16 or bf16: convert the model without quantisation", name);
  }
}

}  // namespace

CTranslate2Model ReadCTranslate2(const std::string& path) {
  Reader in(MappedFile::Open(path));
  CTranslate2Model model;
  const auto version = in.Number<uint32_t>();
  if (version < kOldest || version > kNewest) {
    in.Fail("version " + std::to_string(version), "5 or 6", "version");
  }
  model.specification = in.Text();
  in.Number<uint32_t>();  // revision of the specification
  const auto variables = in.Number<uint32_t>();
  for (uint32_t i = 0; i < variables; ++i) ReadVariable(in, model);
  const auto aliases = in.Number<uint32_t>();
  for (uint32_t i = 0; i < aliases; ++i) {
    const std::string alias = in.Text();
    model.aliases[alias] = in.Text();
  }
  if (!in.at_end()) in.Fail("bytes behind the last alias", "the end");
  return model;
}

}  // namespace rondo
