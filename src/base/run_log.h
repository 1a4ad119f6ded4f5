// Metrics of a training run: one JSON object a line, only ever appended to.
//
//   RunLog log = RunLog::Start("run/metrics.jsonl");               // or Resume(path, step)
//   log.Append({.step = 10, .tokens = 20480, .seconds = 31.5, .loss = 3.2});
//   for (const RunMetrics& m : ReadRunLog("run/metrics.jsonl")) …
//
// A line is written whole by one system call, so a killed process leaves at most one torn line at
// the end, which reading passes over and Resume removes. Not for several threads at once.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace rondo {

// One line. Absent values are not written; values that are not finite are written as null and read
// as absent.
struct RunMetrics {
  int64_t step = 0;                 // optimiser steps done
  int64_t tokens = 0;               // trained on so far
  double seconds = 0;               // of training so far, over all resumptions
  std::optional<double> loss = {};  // what is minimised
  std::optional<double> ce = {};    // cross-entropy, nats a token
  std::optional<double> kd = {};    // distillation loss
  std::optional<double> lr = {};
  std::optional<double> grad_norm = {};  // before clipping
  std::optional<double> tokens_per_s = {};
  std::optional<int64_t> resident_bytes = {};
  std::optional<double> valid_perplexity = {};    // where it was measured
  std::map<std::string, double> more = {};        // further values under names of their own
  std::map<std::string, std::string> names = {};  // further texts, likewise: "cpu", "commit"
  std::string event = {};  // "run", "resume", "spike", "sample", "stage", …; most lines have none
  std::string text = {};   // of the event: a sample, a message

  bool operator==(const RunMetrics&) const = default;
};

class RunLog {
 public:
  // A new log; an existing file is an error, so that no run is overwritten.
  static RunLog Start(const std::string& path);
  // Goes on with a log after a checkpoint at `step`: a torn last line and lines of later steps are
  // cut off. A missing file is begun anew.
  static RunLog Resume(const std::string& path, int64_t step);

  RunLog(RunLog&& other) noexcept;
  RunLog& operator=(RunLog&&) = delete;
  ~RunLog();

  // Throws when the disk is full, and leaves the log as it was. Steps may not go back.
  void Append(const RunMetrics& metrics);
  // Waits until the disk has everything; call it before a checkpoint counts as saved.
  void Sync();

 private:
  RunLog(std::string path, int fd, int64_t step);
  std::string path_;
  int fd_ = -1;
  int64_t step_ = 0;  // of the last line
};

// All lines in order. A torn last line is passed over; any other malformed line throws naming file
// and line.
std::vector<RunMetrics> ReadRunLog(const std::string& path);

}  // namespace rondo
