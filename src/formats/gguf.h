// GGUF v2/v3 container: metadata and tensors. Knows nothing about models.
//
// No size, count or offset in the file is trusted: everything is checked against the file's length
// before use, and every violation is a rondo::Error naming file and field. Big-endian files are
// refused. A model split into parts (NAME-00001-of-00003.gguf …) is one file here, whichever part
// is named; its metadata are those of the first.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "formats/tensor_source.h"
#include "rondo/tensor.h"

namespace rondo {

class MappedFile;

// Integers of all widths become int64/uint64; f32/f64 become double; arrays are homogeneous. The
// strings of an array, of which vocabularies have hundreds of thousands, stay in the mapped file:
// valid as long as the GgufFile.
using GgufValue =
    std::variant<int64_t, uint64_t, double, bool, std::string, std::vector<int64_t>,
                 std::vector<double>, std::vector<bool>, std::vector<std::string_view>>;

class GgufFile {
 public:
  static GgufFile Open(const std::string& path);

  const std::string& path() const { return path_; }
  const std::map<std::string, GgufValue, std::less<>>& metadata() const { return metadata_; }
  // Tensors by name, shape outermost first ([out, in]), memory-mapped; doubles are copied as f32.
  const std::map<std::string, Tensor, std::less<>>& tensors() const { return tensors_; }
  uint64_t file_bytes() const { return file_bytes_; }  // of all parts

  bool Has(std::string_view key) const;
  // Typed access; the value must have (or losslessly convert to) the type. Without a fallback a
  // missing key is an error naming it.
  int64_t Int(std::string_view key) const;
  int64_t Int(std::string_view key, int64_t fallback) const;
  double Float(std::string_view key) const;
  double Float(std::string_view key, double fallback) const;
  bool Bool(std::string_view key, bool fallback) const;
  const std::string& String(std::string_view key) const;
  std::string String(std::string_view key, const std::string& fallback) const;
  const std::vector<std::string_view>& Strings(std::string_view key) const;
  const std::vector<int64_t>& Ints(std::string_view key) const;
  const std::vector<double>& Floats(std::string_view key) const;

 private:
  static GgufFile OpenPart(const std::string& path);
  void AddParts(int64_t count);

  std::string path_;
  std::shared_ptr<const MappedFile> mapped_;
  uint64_t file_bytes_ = 0;
  std::map<std::string, GgufValue, std::less<>> metadata_;
  std::map<std::string, Tensor, std::less<>> tensors_;
};

// Collects metadata (with GGUF's exact value types) and tensors, then writes the file atomically as
// version 3. Setting a key again replaces its value; a second tensor of the same name is an error.
class GgufWriter {
 public:
  void SetU32(const std::string& key, uint32_t value);
  void SetI32(const std::string& key, int32_t value);
  void SetF32(const std::string& key, float value);
  void SetBool(const std::string& key, bool value);
  void SetString(const std::string& key, std::string value);
  void SetStrings(const std::string& key, std::vector<std::string> values);
  void SetI32s(const std::string& key, std::vector<int32_t> values);
  void SetF32s(const std::string& key, std::vector<float> values);
  void AddTensor(const std::string& name, Tensor tensor);
  // The tensor is made, written and let go when its turn comes.
  void AddTensor(TensorSource source);
  // The value set under `key`; null if there is none or it is of another type.
  template <typename T>
  const T* Find(std::string_view key) const {
    for (const auto& [known, value] : metadata_) {
      if (known == key) return std::get_if<T>(&value);
    }
    return nullptr;
  }
  // Shows progress unless `quiet`.
  void Write(const std::string& path, bool quiet = true) const;

 private:
  using WriterValue =
      std::variant<uint32_t, int32_t, float, bool, std::string, std::vector<std::string>,
                   std::vector<int32_t>, std::vector<float>>;
  void Set(const std::string& key, WriterValue value);

  std::vector<std::pair<std::string, WriterValue>> metadata_;
  std::vector<TensorSource> tensors_;
};

}  // namespace rondo
