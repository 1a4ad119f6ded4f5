#include "report/run_data.h"

#include <toml++/toml.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <functional>
#include <set>
#include <sstream>

#include "base/file.h"
#include "base/strings.h"
#include "rondo/error.h"

namespace rondo {
namespace fs = std::filesystem;
namespace {

// A value in TOML, but numbers with no more digits than tell them apart.
std::string ValueText(const toml::node& node) {
  std::ostringstream out;
  if (const toml::array* array = node.as_array()) {
    std::vector<std::string> values;
    for (const toml::node& element : *array) values.push_back(ValueText(element));
    out << "[" << Join(values, ", ") << "]";
  } else if (const auto* number = node.as_floating_point()) {
    out << ShortestNumber(number->get());
  } else {
    node.visit([&out](const auto& value) { out << value; });
  }
  return out.str();
}

void Flatten(const toml::table& table, const std::string& prefix,
             std::map<std::string, std::string>* out);

void FlattenNode(const toml::node& node, const std::string& key,
                 std::map<std::string, std::string>* out) {
  if (const toml::table* table = node.as_table()) {
    Flatten(*table, key + ".", out);
  } else if (const toml::array* array = node.as_array();
             array != nullptr && array->is_array_of_tables()) {
    for (size_t i = 0; i < array->size(); ++i) {
      FlattenNode((*array)[i], key + "[" + std::to_string(i) + "]", out);
    }
  } else {
    const auto* text = node.as_string();
    (*out)[key] = text != nullptr ? text->get() : ValueText(node);
  }
}

void Flatten(const toml::table& table, const std::string& prefix,
             std::map<std::string, std::string>* out) {
  for (const auto& [key, node] : table) FlattenNode(node, prefix + std::string(key), out);
}

std::map<std::string, std::string> ReadRecipe(const std::string& path) {
  std::map<std::string, std::string> recipe;
  try {
    Flatten(toml::parse(ReadTextFile(path), path), {}, &recipe);
  } catch (const toml::parse_error& error) {
    throw Error({.function = "LoadRuns",
                 .problem = std::string(error.description()),
                 .expected = "valid TOML",
                 .file = path,
                 .field = "line " + std::to_string(error.source().begin.line)});
  }
  return recipe;
}

// Of all starts of a run.
std::map<std::string, std::string> ProvenanceOf(const std::vector<RunMetrics>& lines) {
  std::map<std::string, std::vector<std::string>> seen;
  for (const RunMetrics& line : lines) {
    if (line.event != "run") continue;
    for (const auto& [name, value] : line.names) {
      std::vector<std::string>& values = seen[name];
      if (std::ranges::find(values, value) == values.end()) values.push_back(value);
    }
  }
  std::map<std::string, std::string> provenance;
  for (const auto& [name, values] : seen) provenance[name] = Join(values, ", then ");
  return provenance;
}

RunData LoadRun(std::string path) {
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();
  const bool folder = IsDirectory(path);
  const std::string metrics = folder ? (fs::path(path) / "metrics.jsonl").string() : path;
  const fs::path recipe = fs::path(path) / "resolved.toml";
  RunData run{.name = fs::path(path).filename().string(), .path = path, .lines = {}, .recipe = {}};
  run.lines = ReadRunLog(metrics);
  if (run.lines.empty()) {
    throw Error({.function = "LoadRuns",
                 .problem = "no complete line",
                 .expected = "the metrics of a run",
                 .file = metrics});
  }
  if (folder && PathExists(recipe)) run.recipe = ReadRecipe(recipe.string());
  run.provenance = ProvenanceOf(run.lines);
  return run;
}

// Mean of the last twentieth of `values`, at least of one.
std::optional<double> EndMean(const std::vector<double>& values) {
  if (values.empty()) return {};
  const size_t count = (values.size() + 19) / 20;
  double sum = 0;
  for (size_t i = values.size() - count; i < values.size(); ++i) sum += values[i];
  return sum / static_cast<double>(count);
}

std::optional<double> Median(std::vector<double> values) {
  if (values.empty()) return {};
  const auto middle = values.begin() + std::ssize(values) / 2;
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

}  // namespace

std::vector<RunData> LoadRuns(const std::vector<std::string>& paths) {
  std::vector<RunData> runs;
  for (const std::string& path : paths) runs.push_back(LoadRun(path));
  std::map<std::string, int> names;
  for (const RunData& run : runs) ++names[run.name];
  for (size_t i = 0; i < runs.size(); ++i) {
    if (names[runs[i].name] == 1) continue;
    runs[i].name = std::to_string(i + 1) + " " + runs[i].path;
  }
  return runs;
}

RunSummary Summarise(const RunData& run) {
  RunSummary summary;
  std::vector<double> losses, rates;
  for (const RunMetrics& line : run.lines) {
    summary.steps = line.step;
    summary.tokens = line.tokens;
    summary.seconds = line.seconds;
    if (line.loss) losses.push_back(*line.loss);
    if (line.tokens_per_s) rates.push_back(*line.tokens_per_s);
    if (line.valid_perplexity) {
      summary.valid_perplexity = line.valid_perplexity;
      summary.best_valid_perplexity = std::min(
          *line.valid_perplexity, summary.best_valid_perplexity.value_or(*line.valid_perplexity));
    }
    if (line.resident_bytes) {
      summary.peak_resident_bytes =
          std::max(*line.resident_bytes, summary.peak_resident_bytes.value_or(0));
    }
    if (!line.event.empty()) ++summary.events[line.event];
  }
  summary.loss = EndMean(losses);
  summary.tokens_per_s = Median(rates);
  return summary;
}

namespace {

// "tying" of "tying.policy", "stages[1]" of "stages[1].kd"; "" of a key without a section.
std::string SectionOf(const std::string& key) {
  const size_t dot = key.find('.');
  return dot == key.npos ? "" : key.substr(0, dot);
}

// By section, how many keys each run has there.
std::map<std::string, std::vector<int>> SectionSizes(const std::vector<RunData>& runs) {
  std::map<std::string, std::vector<int>> sizes;
  for (size_t i = 0; i < runs.size(); ++i) {
    for (const auto& [key, value] : runs[i].recipe) {
      std::vector<int>& size = sizes[SectionOf(key)];
      size.resize(runs.size());
      ++size[i];
    }
  }
  return sizes;
}

// Values by run, "" where absent; nothing where all runs that `count` agree.
std::optional<std::vector<std::string>> Values(const std::vector<RunData>& runs,
                                               const std::string& key,
                                               const std::function<bool(size_t)>& counts) {
  std::vector<std::string> values;
  std::set<std::string> distinct;
  for (size_t i = 0; i < runs.size(); ++i) {
    const auto found = runs[i].recipe.find(key);
    const bool absent = found == runs[i].recipe.end();
    values.push_back(absent ? "" : found->second);
    if (counts(i)) distinct.insert(absent ? "(absent)" : "=" + found->second);
  }
  if (distinct.size() < 2) return std::nullopt;
  return values;
}

}  // namespace

std::map<std::string, std::vector<std::string>> RecipeDifferences(
    const std::vector<RunData>& runs) {
  constexpr int kFew = 3;  // keys that are listed one by one
  std::set<std::string> keys, lacked;
  for (const RunData& run : runs) {
    for (const auto& [key, value] : run.recipe) keys.insert(key);
  }
  std::map<std::string, std::vector<std::string>> differences;
  const auto sizes = SectionSizes(runs);
  for (const auto& [section, size] : sizes) {
    bool missing = false;
    for (size_t i = 0; i < runs.size(); ++i) missing |= !runs[i].recipe.empty() && size[i] == 0;
    if (section.empty() || !missing || *std::ranges::max_element(size) <= kFew) continue;
    lacked.insert(section);
    std::vector<std::string>& values = differences[section];
    for (const int count : size) {
      values.push_back(count == 0 ? "" : std::to_string(count) + " keys");
    }
  }
  for (const std::string& key : keys) {
    const std::string section = SectionOf(key);
    const auto counts = [&](size_t i) {
      return !runs[i].recipe.empty() && (!lacked.contains(section) || sizes.at(section)[i] > 0);
    };
    if (auto values = Values(runs, key, counts)) differences[key] = std::move(*values);
  }
  return differences;
}

std::vector<std::string> ValidationDifferences(const std::vector<RunData>& runs) {
  std::vector<std::string> differing;
  const auto measured = [&](size_t i) {
    return !runs[i].recipe.empty() && Summarise(runs[i]).valid_perplexity.has_value();
  };
  for (const char* key : {"valid.text", "valid.context", "valid.max_tokens"}) {
    if (Values(runs, key, measured)) differing.emplace_back(key);
  }
  return differing;
}

std::map<std::string, std::vector<std::string>> Provenances(const std::vector<RunData>& runs) {
  std::map<std::string, std::vector<std::string>> all;
  for (size_t i = 0; i < runs.size(); ++i) {
    for (const auto& [name, value] : runs[i].provenance) {
      all[name].resize(runs.size());
      all[name][i] = value;
    }
  }
  return all;
}

}  // namespace rondo
