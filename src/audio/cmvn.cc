#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/json.h"
#include "rondo/audio_features.h"
#include "rondo/error.h"

namespace rondo {
namespace {

constexpr double kLeastVariance = 1e-10;

[[noreturn]] void FailBins(const char* function, int64_t got, int64_t expected) {
  throw Error({.function = function,
               .problem = "features of " + std::to_string(got) + " bins",
               .expected = std::to_string(expected)});
}

std::vector<double> Numbers(JsonObject& object, const char* key) {
  const nlohmann::json* list = object.Find(key);
  if (list == nullptr || !list->is_array() || list->empty()) {
    object.Fail(key, list == nullptr ? "missing" : JsonExcerpt(*list), "a list of numbers");
  }
  std::vector<double> values;
  for (const nlohmann::json& value : *list) {
    if (!value.is_number()) object.Fail(key, JsonExcerpt(value), "a number");
    values.push_back(value.get<double>());
  }
  return values;
}

}  // namespace

void CmvnStatistics::Add(const Features& features) {
  const size_t bins = static_cast<size_t>(features.bins);
  if (sum.empty()) {
    sum.resize(bins);
    sum_squares.resize(bins);
  }
  if (sum.size() != bins) FailBins("CmvnStatistics", features.bins, std::ssize(sum));
  for (int64_t f = 0; f < features.frames(); ++f) {
    const std::span<const float> row = features.Row(f);
    for (size_t b = 0; b < bins; ++b) {
      sum[b] += row[b];
      sum_squares[b] += double{row[b]} * row[b];
    }
  }
  frames += features.frames();
}

void CmvnStatistics::Save(const std::string& path) const {
  const nlohmann::ordered_json json = {
      {"frames", frames}, {"sum", sum}, {"sum_squares", sum_squares}};
  WriteTextFile(path, json.dump() + "\n");
}

CmvnStatistics CmvnStatistics::Load(const std::string& path) {
  const nlohmann::json json = ParseJsonChecked(ReadTextFile(path), path);
  JsonObject object(json, "CmvnStatistics", path);
  CmvnStatistics statistics;
  const nlohmann::json* frames = object.Find("frames");
  if (frames == nullptr || !frames->is_number_unsigned() || *frames == 0) {
    object.Fail("frames", frames == nullptr ? "missing" : JsonExcerpt(*frames), "1 or more");
  }
  statistics.frames = frames->get<int64_t>();
  statistics.sum = Numbers(object, "sum");
  statistics.sum_squares = Numbers(object, "sum_squares");
  if (statistics.sum.size() != statistics.sum_squares.size()) {
    object.Fail("sum_squares", std::to_string(statistics.sum_squares.size()) + " numbers",
                std::to_string(statistics.sum.size()) + " as in sum");
  }
  object.RefuseUnknownKeys();
  return statistics;
}

GlobalCmvn::GlobalCmvn(const CmvnStatistics& statistics, const CmvnOptions& options)
    : shift(statistics.sum.size()), scale(statistics.sum.size(), 1.0f) {
  if (statistics.frames < 1) {
    throw Error(
        {.function = "GlobalCmvn", .problem = "statistics of no frames", .expected = "some"});
  }
  const double count = static_cast<double>(statistics.frames);
  for (size_t b = 0; b < shift.size(); ++b) {
    const double mean = statistics.sum[b] / count;
    const double variance = statistics.sum_squares[b] / count - mean * mean;
    if (options.mean) shift[b] = static_cast<float>(mean);
    if (options.variance) {
      scale[b] = static_cast<float>(1 / std::sqrt(std::max(variance, kLeastVariance)));
    }
  }
}

void GlobalCmvn::Apply(Features* features) const {
  if (std::ssize(shift) != features->bins)
    FailBins("GlobalCmvn", features->bins, std::ssize(shift));
  for (int64_t f = 0; f < features->frames(); ++f) {
    const std::span<float> row = features->Row(f);
    for (size_t b = 0; b < row.size(); ++b) row[b] = (row[b] - shift[b]) * scale[b];
  }
}

void NormalizeUtterance(const CmvnOptions& options, Features* features) {
  if (features->frames() == 0) return;
  CmvnStatistics statistics;
  statistics.Add(*features);
  GlobalCmvn(statistics, options).Apply(features);
}

}  // namespace rondo
