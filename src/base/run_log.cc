#include "base/run_log.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <system_error>
#include <utility>

#include "base/file.h"
#include "base/json.h"
#include "rondo/error.h"

namespace rondo {
namespace {

using nlohmann::json;
using Number = std::optional<double> RunMetrics::*;

// The numbers of a line by name. resident_bytes is an integer and stands beside them.
constexpr std::array<std::pair<std::string_view, Number>, 7> kNumbers = {{
    {"loss", &RunMetrics::loss},
    {"ce", &RunMetrics::ce},
    {"kd", &RunMetrics::kd},
    {"lr", &RunMetrics::lr},
    {"grad_norm", &RunMetrics::grad_norm},
    {"tokens_per_s", &RunMetrics::tokens_per_s},
    {"valid_perplexity", &RunMetrics::valid_perplexity},
}};
constexpr std::array<std::string_view, 6> kOther = {"step",           "tokens", "seconds",
                                                    "resident_bytes", "event",  "text"};

bool IsKnown(std::string_view name) {
  for (const auto& [known, member] : kNumbers) {
    if (name == known) return true;
  }
  return std::find(kOther.begin(), kOther.end(), name) != kOther.end();
}

[[noreturn]] void FailErrno(const std::string& path, const char* action) {
  const int code = errno;
  throw Error(
      {.function = "RunLog",
       .problem = std::string("cannot ") + action + ": " + std::generic_category().message(code),
       .file = path});
}

std::string ToLine(const RunMetrics& metrics, const std::string& path) {
  nlohmann::ordered_json line = {
      {"step", metrics.step}, {"tokens", metrics.tokens}, {"seconds", metrics.seconds}};
  for (const auto& [name, member] : kNumbers) {
    if (const auto& value = metrics.*member) line[std::string(name)] = *value;
  }
  if (metrics.resident_bytes) line["resident_bytes"] = *metrics.resident_bytes;
  const auto add = [&](const auto& further) {
    for (const auto& [name, value] : further) {
      if (IsKnown(name) || line.contains(name)) {
        throw Error({.function = "RunLog::Append",
                     .problem = "'" + name + "' among further values",
                     .expected = "the field of that name, or another name",
                     .file = path});
      }
      line[name] = value;
    }
  };
  add(metrics.more);
  add(metrics.names);
  if (!metrics.event.empty()) line["event"] = metrics.event;
  if (!metrics.text.empty()) line["text"] = metrics.text;
  // Samples of a half-trained model need not be UTF-8.
  return line.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
}

int64_t Integer(const json& value) {
  if (!value.is_number_integer()) throw Error({.problem = value.dump(), .expected = "an integer"});
  return value.get<int64_t>();
}

double Real(const json& value) {
  if (!value.is_number()) throw Error({.problem = value.dump(), .expected = "a number"});
  return value.get<double>();
}

std::string String(const json& value) {
  if (!value.is_string()) throw Error({.problem = value.dump(), .expected = "a string"});
  return value.get<std::string>();
}

void SetField(const std::string& name, const json& value, RunMetrics& metrics) {
  if (value.is_null()) return;  // was not finite
  for (const auto& [known, member] : kNumbers) {
    if (name == known) {
      metrics.*member = Real(value);
      return;
    }
  }
  if (name == "step") {
    metrics.step = Integer(value);
  } else if (name == "tokens") {
    metrics.tokens = Integer(value);
  } else if (name == "seconds") {
    metrics.seconds = Real(value);
  } else if (name == "resident_bytes") {
    metrics.resident_bytes = Integer(value);
  } else if (name == "event") {
    metrics.event = String(value);
  } else if (name == "text") {
    metrics.text = String(value);
  } else if (value.is_string()) {
    metrics.names[name] = String(value);
  } else {
    metrics.more[name] = Real(value);
  }
}

RunMetrics FromLine(std::string_view text, const std::string& path, int64_t number) {
  const std::string where = "line " + std::to_string(number);
  std::string field;
  try {
    const json line = ParseJsonChecked(text, path);
    if (!line.is_object() || !line.contains("step")) {
      throw Error({.problem = "no step", .expected = "an object with step, tokens, seconds, …"});
    }
    RunMetrics metrics;
    for (const auto& [name, value] : line.items()) {
      field = name;
      SetField(name, value, metrics);
    }
    return metrics;
  } catch (const Error& error) {
    throw Error({.function = "ReadRunLog",
                 .problem = error.info().problem,
                 .expected = error.info().expected,
                 .file = path,
                 .field = field.empty() ? where : where + ": " + field});
  }
}

struct Lines {
  std::vector<RunMetrics> metrics;
  std::vector<size_t> ends;  // [lines] bytes up to and with the line
};

Lines ReadLines(const std::string& path) {
  Lines lines;
  const std::string text = ReadTextFile(path);
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = text.find('\n', begin);
    if (end == std::string::npos) break;  // torn
    const auto line = std::string_view(text).substr(begin, end - begin);
    lines.metrics.push_back(FromLine(line, path, std::ssize(lines.metrics) + 1));
    lines.ends.push_back(end + 1);
    begin = end + 1;
  }
  return lines;
}

int OpenFile(const std::string& path, int flags) {
  const int fd = open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | flags, 0666);
  if (fd < 0) FailErrno(path, flags & O_EXCL ? "start a log" : "open");
  return fd;
}

}  // namespace

RunLog RunLog::Start(const std::string& path) { return {path, OpenFile(path, O_EXCL), 0}; }

RunLog RunLog::Resume(const std::string& path, int64_t step) {
  if (!std::filesystem::exists(path)) return Start(path);
  const Lines lines = ReadLines(path);
  size_t kept = lines.metrics.size();
  while (kept > 0 && lines.metrics[kept - 1].step > step) --kept;
  RunLog log(path, OpenFile(path, 0), kept > 0 ? lines.metrics[kept - 1].step : 0);
  if (ftruncate(log.fd_, kept > 0 ? static_cast<off_t>(lines.ends[kept - 1]) : 0) != 0) {
    FailErrno(path, "cut");
  }
  return log;
}

RunLog::RunLog(std::string path, int fd, int64_t step)
    : path_(std::move(path)), fd_(fd), step_(step) {}

RunLog::RunLog(RunLog&& other) noexcept
    : path_(std::move(other.path_)), fd_(std::exchange(other.fd_, -1)), step_(other.step_) {}

RunLog::~RunLog() {
  if (fd_ >= 0) close(fd_);
}

void RunLog::Append(const RunMetrics& metrics) {
  if (metrics.step < step_) {
    throw Error({.function = "RunLog::Append",
                 .problem = "step " + std::to_string(metrics.step),
                 .expected = "at least " + std::to_string(step_) + ", the last one's",
                 .file = path_});
  }
  const std::string line = ToLine(metrics, path_);
  const off_t size = lseek(fd_, 0, SEEK_END);
  ssize_t written;
  do written = write(fd_, line.data(), line.size());
  while (written < 0 && errno == EINTR);
  if (written != std::ssize(line)) {
    if (written >= 0) errno = ENOSPC;
    const int code = errno;
    // Shortening a file needs no space; if it fails all the same, the error below is what counts.
    [[maybe_unused]] const int cut = written > 0 ? ftruncate(fd_, size) : 0;
    errno = code;
    FailErrno(path_, "write");
  }
  step_ = metrics.step;
}

void RunLog::Sync() {
  if (fdatasync(fd_) != 0) FailErrno(path_, "sync");
}

std::vector<RunMetrics> ReadRunLog(const std::string& path) { return ReadLines(path).metrics; }

}  // namespace rondo
