// Losses at the head, a few rows of logits at a time: neither the student's nor the teacher's
// logits of a batch ever exist as a whole, and the gradients of hidden states and head are made
// while a chunk's logits are there.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/grad/vocab_loss.h"
#include "train/model/forward.h"
#include "train/model/params.h"
#include "train/model/teacher.h"

namespace rondo {

struct HeadLossValue {
  double ce = 0;        // mean over positions with a target, nats
  double kd = 0;        // mean over all positions
  double accuracy = 0;  // share of targets that are the most likely token
  at::Tensor d_hidden;  // [tokens, d_model]
  at::Tensor normed;    // [tokens, d_model] behind the final norm
};

// The most probable tokens of every position.
struct TopTokens {
  int k = 0;
  std::vector<int32_t> ids;  // [tokens · k], most probable first
  std::vector<float> log_p;  // [tokens · k], nats
};

// The teacher's side of a divergence: what gives its logits, or what is known of them.
struct LogitSource {
  at::Tensor normed;  // [tokens, d_model of the teacher]
  LogitHead head;
  const TopTokens* top = nullptr;  // instead of both
};

// What is to be predicted.
struct Targets {
  std::span<const int32_t> ids;  // [tokens]; negative ones have no cross-entropy
  double count;                  // that cross-entropies are averaged over
};

// Loss of hidden[tokens, d_model] (before the final norm), averaged over tokens and times `scale`.
// Adds to the gradients of final norm and head. `teacher` may be null when loss.kd is 0. `best`,
// unless null, gets the most likely token of every position.
HeadLossValue HeadLoss(const Forward& forward, const Params& params, const at::Tensor& hidden,
                       const Targets& targets, const LogitSource* teacher, const VocabLoss& loss,
                       double scale, std::vector<int32_t>* best = nullptr);

// The most likely tokens of normed[tokens, d_model].
std::vector<int32_t> BestTokens(const LogitHead& head, const at::Tensor& normed);

// The k most probable tokens of normed[tokens, d_model].
TopTokens MostProbable(const LogitHead& head, const at::Tensor& normed, int k);

// Σ of the cross-entropies of normed[tokens, d_model].
double SumCrossEntropy(const LogitHead& head, const at::Tensor& normed,
                       std::span<const int32_t> targets);

// Rows of logits that exist at once: few enough to be small beside the model, enough for a product
// to pay for the pass over the head's gradient that every chunk makes.
inline constexpr int64_t kHeadRows = 512;

}  // namespace rondo
