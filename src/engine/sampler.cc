#include <algorithm>
#include <cmath>
#include <set>
#include <string>
#include <unordered_map>
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

TokenDistribution Normalised(const std::vector<Candidate>& candidates, float max) {
  double total = 0;
  for (const Candidate& c : candidates) total += Weight(c, max);
  TokenDistribution distribution;
  for (const Candidate& c : candidates) {
    const double weight = Weight(c, max);
    if (weight > 0) distribution.push_back({c.id, weight / total});
  }
  return distribution;
}

double ProbabilityOf(const TokenDistribution& distribution, int32_t token) {
  for (const TokenProbability& entry : distribution) {
    if (entry.token == token) return entry.probability;
  }
  return 0;
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

  TokenDistribution Choose(std::vector<Candidate> candidates) const {
    const SamplingOptions& o = options;
    if (o.repetition_penalty != 1) Penalise(o.repetition_penalty, Recent(), &candidates);
    const Candidate best = *std::min_element(candidates.begin(), candidates.end(), Before);
    const TokenDistribution greedy = {{best.id, 1}};
    if (o.temperature == 0) return greedy;
    for (Candidate& c : candidates) c.logit /= o.temperature;
    const float max = best.logit / o.temperature;
    if (!std::isfinite(max)) return greedy;  // divided by next to nothing
    if (o.top_k > 0) KeepTopK(static_cast<size_t>(o.top_k), &candidates);
    if (o.top_p < 1) KeepTopP(o.top_p, max, &candidates);
    if (o.min_p > 0) {
      std::erase_if(candidates, [&](const Candidate& c) { return Weight(c, max) < o.min_p; });
    }
    return Normalised(candidates, max);
  }
};

Sampler::Sampler(const SamplingOptions& options, std::span<const int32_t> seen) {
  Check(options);
  state_ = std::make_unique<State>(
      State{options, std::vector<int32_t>(seen.begin(), seen.end()), Rng(options.seed)});
}

Sampler::~Sampler() = default;

TokenDistribution Sampler::Distribute(std::span<const float> logits) const {
  if (logits.empty()) {
    throw Error({.function = "Sampler", .problem = "no logits", .file = {}, .field = {}});
  }
  Candidate best{0, logits[0]};
  for (size_t i = 0; i < logits.size(); ++i) {
    if (std::isnan(logits[i])) {
      throw Error({.function = "Sampler",
                   .problem = "logit of token " + std::to_string(i) + " is not a number",
                   .expected = "finite weights and activations",
                   .file = {},
                   .field = {}});
    }
    if (logits[i] > best.logit) best = {static_cast<int32_t>(i), logits[i]};
  }
  const SamplingOptions& o = state_->options;
  if (o.temperature == 0 && o.repetition_penalty == 1) return {{best.id, 1}};
  std::vector<Candidate> candidates;
  candidates.reserve(logits.size());
  for (size_t i = 0; i < logits.size(); ++i) {
    candidates.push_back({static_cast<int32_t>(i), logits[i]});
  }
  return state_->Choose(std::move(candidates));
}

int32_t Sampler::Draw(const TokenDistribution& distribution) {
  if (distribution.size() == 1) return distribution[0].token;
  double left = state_->rng.Uniform();
  for (const TokenProbability& entry : distribution) {
    left -= entry.probability;
    if (left < 0) return entry.token;
  }
  return distribution.back().token;  // rounding may leave a little after the last one
}

void Sampler::Remember(int32_t token) { state_->seen.push_back(token); }

void Sampler::Forget(size_t tokens) {
  state_->seen.resize(state_->seen.size() - std::min(tokens, state_->seen.size()));
}

int32_t Sampler::Sample(std::span<const float> logits) {
  const int32_t token = Draw(Distribute(logits));
  Remember(token);
  return token;
}

int32_t Sampler::Verify(int32_t token, const TokenDistribution& draft,
                        const TokenDistribution& target) {
  const double p = ProbabilityOf(target, token), q = ProbabilityOf(draft, token);
  if (p >= q || state_->rng.Uniform() * q < p) return token;
  std::unordered_map<int32_t, double> drafted;
  for (const TokenProbability& entry : draft) drafted.emplace(entry.token, entry.probability);
  TokenDistribution rest;
  double total = 0;
  for (const TokenProbability& entry : target) {
    const auto found = drafted.find(entry.token);
    const double left = entry.probability - (found == drafted.end() ? 0 : found->second);
    if (left <= 0) continue;
    rest.push_back({entry.token, left});
    total += left;
  }
  if (rest.empty()) return Draw(target);  // equal up to rounding
  for (TokenProbability& entry : rest) entry.probability /= total;
  return Draw(rest);
}

}  // namespace rondo
