// A teacher's most probable tokens on disk, so that rows seen again need no forward pass of it.
//
// Every rank writes a file of its own and reads all. A file holds records of one size, each a row
// of tokens, in the order in which they were computed; one cut short by a kill is computed again.
// Log-probabilities are f32: what is read is what was computed, to the bit.
#pragma once

#include <cstdint>
#include <fstream>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "train/model/batch.h"
#include "train/model/teacher.h"

namespace rondo {

class TeacherCache {
 public:
  // `folder` is created when missing. One that holds what another teacher, k or length of rows gave
  // is refused.
  TeacherCache(const std::string& folder, const Teacher& teacher, int k, int64_t length);

  // From disk when all rows of the batch are there; otherwise computed, and kept while there is
  // room.
  TopTokens Get(const BatchTokens& batch);
  bool full() const { return full_; }  // the disk: nothing more is kept
  size_t rows() const { return places_.size(); }

 private:
  using Place = std::pair<size_t, uint64_t>;  // file, offset

  void OpenFile(const std::string& path);
  bool CreateOwn();
  void CheckHeader(size_t file, const std::string& path);
  void ReadKeys(size_t file, uint64_t bytes);
  bool Read(const std::vector<uint64_t>& keys, TopTokens& top);
  void Append(const std::vector<uint64_t>& keys, const TopTokens& top);
  size_t RowValues() const { return static_cast<size_t>(length_) * static_cast<size_t>(k_); }
  uint64_t RecordBytes() const { return 8 + RowValues() * (sizeof(int32_t) + sizeof(float)); }

  const Teacher& teacher_;
  std::string folder_;
  int k_;
  int64_t length_;
  uint64_t fingerprint_;
  std::vector<std::fstream> files_;
  size_t own_ = 0;        // of files_: the one that this process writes
  uint64_t own_end_ = 0;  // 0: there is none yet
  bool full_ = false;
  std::unordered_map<uint64_t, Place> places_;  // by a row's key
};

}  // namespace rondo
