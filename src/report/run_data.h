// Training runs as their folders tell them.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/run_log.h"

namespace rondo {

struct RunData {
  std::string name;  // short, different for every run of a report
  std::string path;
  std::vector<RunMetrics> lines;
  std::map<std::string, std::string> recipe;  // resolved.toml by dotted key; empty without one
  // What computed it: version, commit, cpu, threads, …; of several starts that differ, all values.
  std::map<std::string, std::string> provenance = {};
};

// Each path is a run folder (metrics.jsonl and, if there, resolved.toml) or a metrics file alone.
// Throws naming the file when it is missing, malformed or without any line.
std::vector<RunData> LoadRuns(const std::vector<std::string>& paths);

struct RunSummary {
  int64_t steps = 0;
  int64_t tokens = 0;
  double seconds = 0;
  std::optional<double> loss;              // mean of the last twentieth of the lines that have one
  std::optional<double> valid_perplexity;  // last
  std::optional<double> best_valid_perplexity;  // lowest
  std::optional<double> tokens_per_s;           // median
  std::optional<int64_t> peak_resident_bytes;
  std::map<std::string, int> events;  // how often each happened
};

RunSummary Summarise(const RunData& run);

// Keys whose value is not the same in every run, each with its value by run; "" where it is absent.
// Runs without a recipe are not compared. A section that some of the runs lack is one entry,
// "tying", with the number of its keys; its keys are compared among the runs that have it.
std::map<std::string, std::vector<std::string>> RecipeDifferences(const std::vector<RunData>& runs);

// The keys of what validation perplexity is measured on that differ among the runs which measured
// it. Unless empty, these perplexities cannot be compared.
std::vector<std::string> ValidationDifferences(const std::vector<RunData>& runs);

// What computed the runs, each value by run; "" where it is absent.
std::map<std::string, std::vector<std::string>> Provenances(const std::vector<RunData>& runs);

}  // namespace rondo
