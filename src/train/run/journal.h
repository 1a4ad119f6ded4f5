// What a run tells: lines of metrics.jsonl, and lines on standard error. Of several ranks the first
// one's alone.
#pragma once

#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/run_log.h"
#include "train/run/progress_line.h"

namespace rondo {

class Journal {
 public:
  // `silent`: nothing at all, for ranks behind the first.
  Journal(bool silent, bool quiet) : silent_(silent), line_(quiet || silent) {}

  // Begins metrics.jsonl at `path`, or cuts one behind `step` and goes on. Throws as RunLog does.
  void Open(const std::string& path, bool resume, int64_t step);
  // On a full disk lines wait for room, in order; the first to wait is reported.
  void Write(const RunMetrics& metrics);
  ProgressLine& line() { return line_; }
  void Warn(const std::string& message);
  void WarnOnce(const std::string& message);
  // Waits until the disk has all lines. Throws when there is no room for them.
  void Sync();

 private:
  void WriteWaiting();

  bool silent_;
  ProgressLine line_;
  std::unique_ptr<RunLog> log_;
  std::vector<RunMetrics> unwritten_;
  std::set<std::string> warned_;
};

}  // namespace rondo
