#include "report/tensorboard.h"

#include <sys/stat.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "base/file.h"
#include "report/event_file.h"
#include "report/run_values.h"

namespace rondo {
namespace {

namespace fs = std::filesystem;

// Seconds since 1970.
double LastChange(const RunData& run) {
  const std::string log = IsDirectory(run.path) ? run.path + "/metrics.jsonl" : run.path;
  struct stat info;
  return stat(log.c_str(), &info) == 0 ? static_cast<double>(info.st_mtime) : 0;
}

std::string Events(const RunData& run) {
  EventFile file;
  const double begin = LastChange(run) - run.lines.back().seconds;
  for (const RunMetrics& line : run.lines) {
    const double wall = begin + line.seconds;
    for (const auto& [name, value] : ValuesOf(line)) {
      if (std::isfinite(value)) file.AddScalar(wall, line.step, name, value);
    }
    if (!line.event.empty() && !line.text.empty()) {
      file.AddText(wall, line.step, line.event, line.text);
    }
  }
  return file.bytes();
}

}  // namespace

void WriteTensorBoard(const std::vector<RunData>& runs, const std::string& directory) {
  for (const RunData& run : runs) {
    std::string folder = run.name;
    std::ranges::replace(folder, '/', '_');
    const fs::path path = fs::path(directory) / folder;
    MakeDirectories(path);
    WriteTextFile((path / "events.out.tfevents.rondo").string(), Events(run));
  }
}

}  // namespace rondo
