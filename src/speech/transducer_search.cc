#include "speech/transducer_search.h"

#include <algorithm>
#include <map>

#include "kernels/log_softmax.h"
#include "rondo/speech_model.h"

namespace rondo {
namespace {

void KeepBest(std::vector<Prefix>& prefixes, int beam) {
  std::ranges::stable_sort(prefixes, std::greater<>(), &Prefix::log_p);
  if (prefixes.size() > static_cast<size_t>(beam)) prefixes.resize(static_cast<size_t>(beam));
}

}  // namespace

void TransducerSearch::Reset() {
  position_ = 0;
  beam_list_ = {Prefix{}};
  memo_ = {heads_.Predict({})};
}

void TransducerSearch::Push(std::span<const float> hidden) {
  const std::vector<float> inputs = heads_.JoinerInput(hidden);
  const auto width = static_cast<size_t>(heads_.width());
  for (size_t at = 0; at < inputs.size(); at += width, ++position_) {
    const std::span<const float> position = std::span(inputs).subspan(at, width);
    if (beam_ <= 1) {
      PushGreedy(position);
    } else {
      PushBeam(position);
    }
  }
}

void TransducerSearch::PushGreedy(std::span<const float> position) {
  Prefix& prefix = beam_list_.front();
  std::vector<float>& prediction = memo_.front();
  for (int written = 0;; ++written) {
    const std::vector<float> log_p = heads_.Join(position, prediction);
    const auto best = std::ranges::max_element(log_p);
    const auto unit = static_cast<int32_t>(best - log_p.begin());
    if (unit == kBlankUnit || written == at_once_) {
      prefix.log_p += log_p[kBlankUnit];
      return;
    }
    prefix.log_p += *best;
    prefix.units.push_back(unit);
    prefix.positions.push_back(position_);
    prediction = heads_.Predict(prefix.units);
  }
}

std::vector<float> TransducerSearch::JoinAll(std::span<const float> position,
                                             const std::vector<Candidate>& candidates) const {
  std::vector<float> predictions;
  for (const Candidate& c : candidates) {
    predictions.insert(predictions.end(), c.prediction.begin(), c.prediction.end());
  }
  return heads_.Join(position, predictions);
}

void TransducerSearch::PushBeam(std::span<const float> position) {
  std::map<std::vector<int32_t>, Prefix> finished;  // by a blank at this position
  std::vector<Candidate> open;
  for (size_t i = 0; i < beam_list_.size(); ++i) open.push_back({beam_list_[i], memo_[i]});
  const auto units = static_cast<size_t>(heads_.units());
  for (int round = 0; round <= at_once_ && !open.empty(); ++round) {
    const std::vector<float> log_p = JoinAll(position, open);
    std::vector<Prefix> grown;
    for (size_t i = 0; i < open.size(); ++i) {
      const std::span<const float> row = std::span(log_p).subspan(i * units, units);
      Prefix done = open[i].prefix;
      done.log_p += row[kBlankUnit];
      const auto [found, added] = finished.try_emplace(done.units, done);
      if (!added) found->second.log_p = LogAdd(found->second.log_p, done.log_p);
      if (round == at_once_) continue;
      for (size_t unit = 0; unit < units; ++unit) {
        if (unit == kBlankUnit) continue;
        Prefix longer = open[i].prefix;
        longer.log_p += row[unit];
        longer.units.push_back(static_cast<int32_t>(unit));
        longer.positions.push_back(position_);
        grown.push_back(std::move(longer));
      }
    }
    KeepBest(grown, beam_);
    // A prefix that is less probable than the whole beam of finished ones cannot catch up.
    std::vector<Prefix> done;
    for (const auto& entry : finished) done.push_back(entry.second);
    KeepBest(done, beam_);
    const bool full = done.size() == static_cast<size_t>(beam_);
    open.clear();
    for (Prefix& prefix : grown) {
      if (full && prefix.log_p <= done.back().log_p) continue;
      std::vector<float> prediction = heads_.Predict(prefix.units);
      open.push_back({std::move(prefix), std::move(prediction)});
    }
  }
  beam_list_.clear();
  for (auto& entry : finished) beam_list_.push_back(std::move(entry.second));
  KeepBest(beam_list_, beam_);
  memo_.clear();
  for (const Prefix& prefix : beam_list_) memo_.push_back(heads_.Predict(prefix.units));
}

}  // namespace rondo
