#include "eval/task_files.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <system_error>

#include "base/strings.h"
#include "rondo/error.h"
#include "text/unicode/text_source.h"

namespace rondo {
namespace fs = std::filesystem;
namespace {

[[noreturn]] void Fail(const std::string& file, std::string field, std::string problem,
                       std::string expected) {
  throw Error({.function = "EvaluateTasks",
               .problem = std::move(problem),
               .expected = std::move(expected),
               .file = file,
               .field = std::move(field)});
}

// "ARC-Easy_Test" and "arc_easy_test" are the same.
std::string Plain(std::string_view name) {
  std::string out(name);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    if (c == '-') c = '_';
  }
  return out;
}

// Cuts `ending` off; false if the name does not end with it.
bool CutEnding(std::string& name, std::string_view ending) {
  if (!name.ends_with(ending)) return false;
  name.resize(name.size() - ending.size());
  return true;
}

// The name without .jsonl, packed or not; empty for other files.
std::string StemOfRecords(const fs::path& path) {
  std::string name = Plain(path.filename().string());
  name = std::string(WithoutPacking(name));
  return CutEnding(name, ".jsonl") ? name : "";
}

bool StartsWithWord(std::string_view name, std::string_view word) {
  return name.starts_with(word) && (name.size() == word.size() || name[word.size()] == '_');
}

std::vector<std::string_view> NamesOf(TaskSplit split) {
  if (split == TaskSplit::kTrain) return {"train"};
  if (split == TaskSplit::kTest) return {"test"};
  return {"validation", "valid", "val", "dev"};
}

bool Holds(const std::string& stem, bool own_folder, const TaskSpec& task, TaskSplit split) {
  for (const std::string_view name : NamesOf(split)) {
    if (own_folder && StartsWithWord(stem, name)) return true;
    for (const std::string_view file : task.files) {
      if (StartsWithWord(stem, Plain(file) + "_" + std::string(name))) return true;
    }
  }
  return false;
}

std::vector<fs::path> List(const fs::path& folder) {
  std::error_code code;
  std::vector<fs::path> entries;
  for (fs::directory_iterator it(folder, code), end; !code && it != end; it.increment(code)) {
    entries.push_back(it->path());
  }
  if (code) Fail(folder.string(), {}, "cannot list: " + code.message(), "a folder with task files");
  std::ranges::sort(entries);
  return entries;
}

fs::path FolderOf(const fs::path& path) {
  return path.parent_path().empty() ? fs::path(".") : path.parent_path();
}

// The answers beside the records; empty if there is no such file.
std::vector<int> ReadLabels(const std::string& path) {
  std::vector<int> labels;
  for (const fs::path& entry : List(FolderOf(path))) {
    const std::string name = Plain(entry.filename().string());
    if (name != StemOfRecords(path) + "_labels.lst") continue;
    for (const std::string& line : Split(ReadText(entry.string()), '\n')) {
      const std::string_view digit = Trim(line);
      if (digit.empty()) continue;
      if (digit.size() != 1 || digit[0] < '0' || digit[0] > '9') {
        Fail(entry.string() + ":" + std::to_string(labels.size() + 1), {}, "'" + line + "'",
             "the number of the right choice");
      }
      labels.push_back(digit[0] - '0');
    }
  }
  return labels;
}

}  // namespace

std::string FindTaskFile(const std::string& folder, const TaskSpec& task, TaskSplit split) {
  std::vector<std::string> found;
  for (const fs::path& entry : List(folder)) {
    std::error_code ignored;
    if (!fs::is_directory(entry, ignored)) {
      if (Holds(StemOfRecords(entry), false, task, split)) found.push_back(entry.string());
      continue;
    }
    const std::string name = Plain(entry.filename().string());
    const auto is_name = [&](std::string_view file) { return Plain(file) == name; };
    if (std::ranges::none_of(task.files, is_name)) continue;
    for (const fs::path& inner : List(entry)) {
      if (Holds(StemOfRecords(inner), true, task, split)) found.push_back(inner.string());
    }
  }
  if (found.size() == 1) return found.front();
  const std::string usual =
      std::string(task.files.front()) + "_" + std::string(Name(split)) + ".jsonl";
  Fail(folder, std::string(task.name),
       found.empty() ? "no file with " + std::string(Name(split)) + " records"
                     : "several files: " + Join(found, ", "),
       "one file with a name like " + usual + " or " + usual + ".xz");
}

std::vector<TaskRecord> ReadTaskFile(const std::string& path, const TaskSpec& task) {
  const std::vector<int> labels = ReadLabels(path);
  std::vector<TaskRecord> records;
  int number = 0;
  for (const std::string& line : Split(ReadText(path), '\n')) {
    const std::string place = path + ":" + std::to_string(++number);
    if (Trim(line).empty()) continue;
    const nlohmann::json json = ParseJsonChecked(line, place);
    JsonObject object(json, "EvaluateTasks", place);
    std::optional<int> label;
    if (records.size() < labels.size()) label = labels[records.size()];
    TaskRecord record = task.read(object, label);
    record.identity = json.dump() + (label ? std::to_string(*label) : "");
    records.push_back(std::move(record));
  }
  if (records.empty()) Fail(path, {}, "no records", "one JSON object a line");
  if (!labels.empty() && labels.size() != records.size()) {
    Fail(path, {}, std::to_string(records.size()) + " records",
         "as many as its file of labels has, " + std::to_string(labels.size()));
  }
  return records;
}

}  // namespace rondo
