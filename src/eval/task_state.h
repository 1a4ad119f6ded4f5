// The file that lets an interrupted evaluation go on: a line for the run, then a line for each
// finished example with its task, number, fingerprint of its tokens and scores, JSON all of them.
// It is also a record of every likelihood. A last line that was cut short is dropped.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "eval/continuation_scorer.h"

namespace rondo {

class TaskState {
 public:
  // Opens or creates `path` for the run described by `run` and `loops`. Throws rondo::Error naming
  // file and line when the file belongs to another run, is no such file, or is in use by another
  // process.
  TaskState(const std::string& path, const std::string& run, const std::vector<int>& loops);
  ~TaskState();
  TaskState(const TaskState&) = delete;
  TaskState& operator=(const TaskState&) = delete;

  // Scores of an example with these tokens, nullptr if none were kept.
  const ExampleScores* Find(const std::string& fingerprint) const;
  void Add(const std::string& task, size_t number, const std::string& fingerprint,
           const ExampleScores& scores);
  // Hands everything added to the operating system, so that it outlives this process.
  void Flush();

 private:
  void Read(const std::string& run, const std::vector<int>& loops);
  void ReadExample(const std::string& line, const std::string& place, size_t loops);
  [[noreturn]] void Fail(const std::string& place, std::string field, std::string problem,
                         std::string expected) const;

  std::string path_;
  int file_ = -1;
  std::string pending_;
  std::map<std::string, ExampleScores> finished_;  // by fingerprint
};

}  // namespace rondo
