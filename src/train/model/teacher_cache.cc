#include "train/model/teacher_cache.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "base/file.h"
#include "base/hash.h"
#include "rondo/error.h"
#include "train/model/fused.h"

namespace rondo {
namespace {

namespace fs = std::filesystem;

struct Header {
  std::array<char, 8> magic = {'r', 'o', 'n', 'd', 'o', 't', 'o', 'p'};
  uint32_t format = 1;
  uint32_t k = 0;
  uint64_t length = 0;
  uint64_t teacher = 0;
};
static_assert(sizeof(Header) == 32);

// Of what a teacher computes: values spread over all its matrices.
uint64_t FingerprintOf(const Teacher& teacher) {
  constexpr int64_t kStride = 4099;
  uint64_t hash = static_cast<uint64_t>(teacher.config().layers);
  const auto add = [&](const at::Tensor& tensor) {
    const at::Tensor here = tensor.cpu().to(at::kFloat);
    const float* data = here.const_data_ptr<float>();
    for (int64_t i = 0; i < tensor.numel(); i += kStride) {
      uint32_t bits;
      std::memcpy(&bits, data + i, sizeof bits);
      hash = CombineHash(hash, bits);
    }
  };
  add(teacher.head().weight);
  for (int depth = 0; depth < teacher.config().layers; ++depth) {
    const LayerTensors& layer = teacher.layer(depth);
    for (const at::Tensor* part : {&layer.qkv, &layer.o, &layer.up, &layer.down}) add(*part);
  }
  return hash;
}

// A row is its tokens and where documents end in it.
std::vector<uint64_t> KeysOf(const BatchTokens& batch) {
  std::vector<uint64_t> keys;
  const auto length = static_cast<size_t>(batch.shape.length);
  for (size_t begin = 0; begin < batch.inputs.size(); begin += length) {
    uint64_t key = length;
    for (size_t i = begin; i < begin + length; ++i) {
      const uint64_t border = batch.targets[i] < 0;
      key = CombineHash(key, static_cast<uint64_t>(batch.inputs[i]) * 2 + border);
    }
    keys.push_back(key);
  }
  return keys;
}

template <typename T>
void ReadValues(std::fstream& file, T* to, size_t count) {
  file.read(reinterpret_cast<char*>(to), static_cast<std::streamsize>(count * sizeof(T)));
}

template <typename T>
void WriteValues(std::fstream& file, const T* from, size_t count) {
  file.write(reinterpret_cast<const char*>(from), static_cast<std::streamsize>(count * sizeof(T)));
}

}  // namespace

TeacherCache::TeacherCache(const std::string& folder, const Teacher& teacher, int k, int64_t length)
    : teacher_(teacher),
      folder_(folder),
      k_(k),
      length_(length),
      fingerprint_(FingerprintOf(teacher)) {
  MakeDirectories(folder);
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.path().extension() == ".top") OpenFile(entry.path().string());
  }
}

// A process may be writing the file: what is behind its last whole record is left alone.
void TeacherCache::OpenFile(const std::string& path) {
  const uint64_t size = fs::file_size(path);
  if (size < sizeof(Header)) return;
  files_.emplace_back(path, std::ios::binary | std::ios::in);
  CheckHeader(files_.size() - 1, path);
  ReadKeys(files_.size() - 1, (size - sizeof(Header)) / RecordBytes() * RecordBytes());
}

// Every process writes a file of its own, the first name that nobody has taken. False: no room.
bool TeacherCache::CreateOwn() {
  for (int number = 0;; ++number) {
    char name[32];
    std::snprintf(name, sizeof name, "part-%04d.top", number);
    const std::string path = (fs::path(folder_) / name).string();
    const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0 && errno == EEXIST) continue;
    if (fd < 0) return false;
    close(fd);
    std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
    const Header header = {.k = static_cast<uint32_t>(k_),
                           .length = static_cast<uint64_t>(length_),
                           .teacher = fingerprint_};
    WriteValues(file, &header, 1);
    file.flush();
    if (!file.good()) return false;
    own_ = files_.size();
    own_end_ = sizeof(Header);
    files_.push_back(std::move(file));
    return true;
  }
}

void TeacherCache::CheckHeader(size_t file, const std::string& path) {
  Header found = {.magic = {}};
  ReadValues(files_[file], &found, 1);
  const auto check = [&](bool good, const char* field, const std::string& value,
                         const std::string& expected) {
    if (good) return;
    throw Error({.function = "TeacherCache",
                 .problem = value,
                 .expected = expected,
                 .file = path,
                 .field = field});
  };
  check(files_[file].good() && found.magic == Header().magic && found.format == 1, "format",
        "no file of a teacher's tokens", "format 1");
  check(found.k == static_cast<uint32_t>(k_), "k", std::to_string(found.k), std::to_string(k_));
  check(found.length == static_cast<uint64_t>(length_), "length", std::to_string(found.length),
        std::to_string(length_));
  check(found.teacher == fingerprint_, "teacher", "what another teacher gave",
        "this one's, or another folder");
}

void TeacherCache::ReadKeys(size_t file, uint64_t bytes) {
  for (uint64_t at = sizeof(Header); at < sizeof(Header) + bytes; at += RecordBytes()) {
    uint64_t key = 0;
    files_[file].seekg(static_cast<std::streamoff>(at));
    ReadValues(files_[file], &key, 1);
    places_.emplace(key, Place(file, at));
  }
}

bool TeacherCache::Read(const std::vector<uint64_t>& keys, TopTokens& top) {
  top.ids.resize(keys.size() * RowValues());
  top.log_p.resize(top.ids.size());
  for (size_t row = 0; row < keys.size(); ++row) {
    const auto found = places_.find(keys[row]);
    if (found == places_.end()) return false;
    std::fstream& file = files_[found->second.first];
    file.seekg(static_cast<std::streamoff>(found->second.second));
    uint64_t key = 0;
    ReadValues(file, &key, 1);
    ReadValues(file, top.ids.data() + row * RowValues(), RowValues());
    ReadValues(file, top.log_p.data() + row * RowValues(), RowValues());
    if (file.good() && key == keys[row]) continue;
    file.clear();
    return false;
  }
  return true;
}

void TeacherCache::Append(const std::vector<uint64_t>& keys, const TopTokens& top) {
  if (own_end_ == 0 && !CreateOwn()) {
    full_ = true;
    return;
  }
  std::fstream& file = files_[own_];
  for (size_t row = 0; row < keys.size(); ++row) {
    if (places_.contains(keys[row])) continue;
    file.seekp(static_cast<std::streamoff>(own_end_));
    WriteValues(file, &keys[row], 1);
    WriteValues(file, top.ids.data() + row * RowValues(), RowValues());
    WriteValues(file, top.log_p.data() + row * RowValues(), RowValues());
    file.flush();
    if (!file.good()) {
      file.clear();
      full_ = true;
      return;
    }
    places_.emplace(keys[row], Place(own_, own_end_));
    own_end_ += RecordBytes();
  }
}

TopTokens TeacherCache::Get(const BatchTokens& batch) {
  const std::vector<uint64_t> keys = KeysOf(batch);
  TopTokens top{.k = k_};
  if (Read(keys, top)) return top;
  const at::Tensor normed = teacher_.Run(batch.inputs, batch.shape).normed;
  top = MostProbable(teacher_.head(), normed, k_);
  if (!full_) Append(keys, top);
  return top;
}

}  // namespace rondo
