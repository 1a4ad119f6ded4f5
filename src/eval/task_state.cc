#include "eval/task_state.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <nlohmann/json.hpp>
#include <system_error>

#include "base/file.h"
#include "base/json.h"
#include "rondo/error.h"

namespace rondo {
namespace {

using nlohmann::json;

constexpr int kFormat = 2;  // 1: other fingerprints

std::string Reason(const char* action) {
  return std::string("cannot ") + action + ": " + std::generic_category().message(errno);
}

json ScoresToJson(const ExampleScores& scores) {
  json loops = json::array();
  for (const auto& rows : scores) {
    json values = json::array();
    for (const ContinuationScore& score : rows) {
      values.push_back({score.log_likelihood, score.greedy});
    }
    loops.push_back(std::move(values));
  }
  return loops;
}

}  // namespace

TaskState::TaskState(const std::string& path, const std::string& run, const std::vector<int>& loops)
    : path_(path) {
  file_ = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (file_ < 0) Fail(path, {}, Reason("open"), "a file that can be written");
  try {
    if (flock(file_, LOCK_EX | LOCK_NB) != 0) {
      Fail(path, {}, "another process uses it", "one evaluation at a time for a file");
    }
    Read(run, loops);
  } catch (...) {
    close(file_);
    throw;
  }
}

TaskState::~TaskState() { close(file_); }

void TaskState::Fail(const std::string& place, std::string field, std::string problem,
                     std::string expected) const {
  throw Error({.function = "TaskState",
               .problem = std::move(problem),
               .expected = std::move(expected),
               .file = place,
               .field = std::move(field)});
}

void TaskState::Read(const std::string& run, const std::vector<int>& loops) {
  const std::string text = ReadTextFile(path_);
  const json header = {{"rondo_eval", kFormat}, {"run", run}, {"loops", loops}};
  size_t begin = 0;
  for (size_t number = 1, end; (end = text.find('\n', begin)) != std::string::npos; ++number) {
    const std::string line = text.substr(begin, end - begin);
    const std::string place = path_ + ":" + std::to_string(number);
    begin = end + 1;
    if (number > 1) {
      ReadExample(line, place, loops.size());
      continue;
    }
    const json found = ParseJsonChecked(line, place);
    if (!found.is_object() || !found.contains("rondo_eval")) {
      Fail(place, {}, "no file of an evaluation", "a new path, or a file that --resume wrote");
    }
    for (const auto& [key, value] : header.items()) {
      if (found.value(key, json()) == value) continue;
      Fail(place, key, found.value(key, json()).dump(), "this run's " + value.dump());
    }
  }
  // What follows the last line break was cut short by the interruption. A file without any line
  // is ours only if it is empty or the beginning of a header.
  const std::string first = header.dump() + "\n";
  if (begin == 0 && !first.starts_with(text)) {
    Fail(path_, {}, "no file of an evaluation", "a new path, or a file that --resume wrote");
  }
  if (ftruncate(file_, static_cast<off_t>(begin)) != 0 || lseek(file_, 0, SEEK_END) < 0) {
    Fail(path_, {}, Reason("write"), "a file that can be written");
  }
  if (begin == 0) pending_ = first;
  Flush();
}

void TaskState::ReadExample(const std::string& line, const std::string& place, size_t loops) {
  const json parsed = ParseJsonChecked(line, place);
  JsonObject object(parsed, "TaskState", place);
  const json* found = object.Find("scores");
  const auto bad = [&] { Fail(place, "scores", "malformed", "[[likelihood, greedy], …] by loop"); };
  if (found == nullptr || !found->is_array() || found->size() != loops) bad();
  ExampleScores scores;
  for (const json& rows : *found) {
    if (!rows.is_array()) bad();
    auto& values = scores.emplace_back();
    for (const json& pair : rows) {
      if (!pair.is_array() || pair.size() != 2 || !pair[0].is_number() || !pair[1].is_boolean()) {
        bad();
      }
      values.push_back({pair[0].get<double>(), pair[1].get<bool>()});
    }
  }
  finished_[object.String("tokens")] = std::move(scores);
}

const ExampleScores* TaskState::Find(const std::string& fingerprint) const {
  const auto found = finished_.find(fingerprint);
  return found == finished_.end() ? nullptr : &found->second;
}

void TaskState::Add(const std::string& task, size_t number, const std::string& fingerprint,
                    const ExampleScores& scores) {
  pending_ += json{{"task", task},
                   {"example", number},
                   {"tokens", fingerprint},
                   {"scores", ScoresToJson(scores)}}
                  .dump() +
              "\n";
}

void TaskState::Flush() {
  for (size_t done = 0; done < pending_.size();) {
    const ssize_t written = write(file_, pending_.data() + done, pending_.size() - done);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) Fail(path_, {}, Reason("write"), "room on the disk");
    done += static_cast<size_t>(written);
  }
  pending_.clear();
}

}  // namespace rondo
