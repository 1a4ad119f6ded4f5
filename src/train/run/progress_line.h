// What a run says on standard error: one line a report, rewritten in place on a terminal.
#pragma once

#include <string>

#include "base/run_log.h"

namespace rondo {

class ProgressLine {
 public:
  explicit ProgressLine(bool quiet);
  // `progress` in [0, 1] of the stage after `seconds` of it.
  void Show(const std::string& stage, double progress, double seconds, const RunMetrics& metrics);
  // `summary` of what was measured at the step of `metrics`.
  void ShowMeasurement(const RunMetrics& metrics, const std::string& summary);
  void ShowSample(const std::string& text);
  void Say(const std::string& message);
  // Also when quiet.
  void Warn(const std::string& message);

 private:
  void EndLine();
  bool quiet_, terminal_;
  bool open_ = false;  // a line without its end
};

}  // namespace rondo
