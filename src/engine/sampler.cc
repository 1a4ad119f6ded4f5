#include <algorithm>
#include <cmath>
#include <set>
#include <string>
#include <utility>

#include "base/rng.h"
#include "rondo/error.h"
#include "rondo/generate.h"

namespace rondo {
namespace {

struct Candidate {
  int32_t id;
  float logit;
};

// Most probable first, lower ids first among equals.
bool Before(const Candidate& a, const Candidate& b) {
  return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
}

void Require(bool ok, const char* field, float value, const char* expected) {
  if (ok) return;
  throw Error({.function = "Sampler",
               .problem = "value " + std::to_string(value),
               .expected = expected,
               .file = {},
               .field = field});
}

void Check(const SamplingOptions& o) {
  Require(std::isfinite(o.repetition_penalty) && o.repetition_penalty > 0, "repetition_penalty",
          o.repetition_penalty, "a positive number");
  Require(o.repetition_window >= 0, "repetition_window", static_cast<float>(o.repetition_window),
          "0 or more");
  Require(std::isfinite(o.temperature) && o.temperature >= 0, "temperature", o.temperature,
          "0 or more");
  Require(o.top_k >= 0, "top_k", static_cast<float>(o.top_k), "0 or more");
  Require(o.top_p > 0 && o.top_p <= 1, "top_p", o.top_p, "above 0, at most 1");
  Require(o.min_p >= 0 && o.min_p <= 1, "min_p", o.min_p, "0 to 1");
}

void Penalise(float penalty, std::span<const int32_t> seen, std::vector<Candidate>* candidates) {
  for (const int32_t id : std::set<int32_t>(seen.begin(), seen.end())) {
    if (id < 0 || static_cast<size_t>(id) >= candidates->size()) continue;
    float& logit = (*candidates)[static_cast<size_t>(id)].logit;
    logit = logit < 0 ? logit * penalty : logit / penalty;
  }
}

void KeepTopK(size_t k, std::vector<Candidate>* candidates) {
  if (k >= candidates->size()) return;
  const auto kth = candidates->begin() + static_cast<std::ptrdiff_t>(k) - 1;
  std::nth_element(candidates->begin(), kth, candidates->end(), Before);
  const float limit = kth->logit;
  std::erase_if(*candidates, [&](const Candidate& c) { return c.logit < limit; });
}

double Weight(const Candidate& candidate, float max) {
  return std::exp(static_cast<double>(candidate.logit) - max);
}

// Takes candidates from a heap in order of probability until their sum reaches p.
void KeepTopP(double p, float max, std::vector<Candidate>* candidates) {
  double total = 0;
  for (const Candidate& c : *candidates) total += Weight(c, max);
  const auto later = [](const Candidate& a, const Candidate& b) { return Before(b, a); };
  std::make_heap(candidates->begin(), candidates->end(), later);
  std::vector<Candidate> kept;
  for (double sum = 0; !candidates->empty() && sum < p * total;) {
    std::pop_heap(candidates->begin(), candidates->end(), later);
    kept.push_back(candidates->back());
    candidates->pop_back();
    sum += Weight(kept.back(), max);
  }
  *candidates = std::move(kept);
}

int32_t Draw(const std::vector<Candidate>& candidates, float max, Rng& rng) {
  double total = 0;
  for (const Candidate& c : candidates) total += Weight(c, max);
  double left = rng.Uniform() * total;
  int32_t last = candidates.front().id;
  for (const Candidate& c : candidates) {
    const double weight = Weight(c, max);
    if (weight == 0) continue;
    last = c.id;
    left -= weight;
    if (left < 0) break;
  }
  return last;  // rounding may leave a little after the last one
}

}  // namespace

struct Sampler::State {
  SamplingOptions options;
  std::vector<int32_t> seen;
  Rng rng;

  std::span<const int32_t> Recent() const {
    const auto window = static_cast<size_t>(options.repetition_window);
    const std::span<const int32_t> all(seen);
    return window == 0 || window >= all.size() ? all : all.last(window);
  }

  int32_t Choose(std::vector<Candidate> candidates) {
    const SamplingOptions& o = options;
    if (o.repetition_penalty != 1) Penalise(o.repetition_penalty, Recent(), &candidates);
    const Candidate best = *std::min_element(candidates.begin(), candidates.end(), Before);
    if (o.temperature == 0) return best.id;
    for (Candidate& c : candidates) c.logit /= o.temperature;
    const float max = best.logit / o.temperature;
    if (!std::isfinite(max)) return best.id;  // divided by next to nothing: greedy
    if (o.top_k > 0) KeepTopK(static_cast<size_t>(o.top_k), &candidates);
    if (o.top_p < 1) KeepTopP(o.top_p, max, &candidates);
    if (o.min_p > 0) {
      std::erase_if(candidates, [&](const Candidate& c) { return Weight(c, max) < o.min_p; });
    }
    return Draw(candidates, max, rng);
  }
};

Sampler::Sampler(const SamplingOptions& options, std::span<const int32_t> seen) {
  Check(options);
  state_ = std::make_unique<State>(
      State{options, std::vector<int32_t>(seen.begin(), seen.end()), Rng(options.seed)});
}

Sampler::~Sampler() = default;

int32_t Sampler::Sample(std::span<const float> logits) {
  if (logits.empty()) {
    throw Error({.function = "Sampler::Sample", .problem = "no logits", .file = {}, .field = {}});
  }
  std::vector<Candidate> candidates;
  candidates.reserve(logits.size());
  for (size_t i = 0; i < logits.size(); ++i) {
    if (std::isnan(logits[i])) {
      throw Error({.function = "Sampler::Sample",
                   .problem = "logit of token " + std::to_string(i) + " is not a number",
                   .expected = "finite weights and activations",
                   .file = {},
                   .field = {}});
    }
    candidates.push_back({static_cast<int32_t>(i), logits[i]});
  }
  const int32_t token = state_->Choose(std::move(candidates));
  state_->seen.push_back(token);
  return token;
}

}  // namespace rondo
