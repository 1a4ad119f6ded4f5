// One training step's gradients: forward in segments of depths, losses, backward segment by
// segment. Between segments only hidden states are kept; with activation checkpointing the inside
// of a segment is computed a second time, to the same bits, when its gradient is due.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "corpus/token_data.h"
#include "rondo/sharing_plan.h"
#include "train/loss/gate_loss.h"
#include "train/loss/head_loss.h"
#include "train/model/batch.h"
#include "train/model/forward.h"
#include "train/model/layer_dropout.h"
#include "train/model/params.h"
#include "train/model/teacher.h"
#include "train/model/teacher_cache.h"
#include "train/run/ranks.h"

namespace rondo {

// What the backward pass computes a second time (activation checkpointing).
enum class Recompute {
  kNone,   // nothing: all activations are kept
  kLoop,   // one loop's at a time (of a plan without loops: about √depths depths)
  kDepth,  // one depth's at a time
};

// What the loops before the last are trained to (Bae et al. 2025, section 2.3).
enum class ExitLoss {
  kNone,
  kWeighted,    // loop i of B has the share i / Σ i, the last one included
  kAggressive,  // every earlier loop has `exit_weight`, the last one 1
};

struct LossOptions {
  VocabLoss vocab;  // at the last output
  ExitLoss exits = ExitLoss::kNone;
  double exit_weight = 0.1;  // kAggressive
  double exit_kd = 0;        // share of an exit's loss that is KL from the detached last output
  double hidden = 0;         // weight of matching hidden states with the teacher's
  std::vector<int> hidden_depths;  // behind which depths
  bool documents_apart = false;    // positions see their own document only
  double layer_dropout = 0;        // LayerDropout::largest; not in alignment
  double gate = 0;  // weight of the exit gate's loss, which moves nothing but the gate
  // Weight of the symmetric KL divergence between the outputs of two draws of a mixture: half of
  // either direction, temperature 1, mean over tokens. All other losses are the first draw's.
  double consistency = 0;
};

// Weights [loops] of the losses at the ends of the loops, the last output's behind the others.
std::vector<double> ExitWeights(const LossOptions& options, int loops);

struct StepValue {
  double loss = 0;  // what the model minimises; the gate's loss is apart
  double ce = 0, kd = 0, accuracy = 0, hidden = 0;
  std::vector<double> exit_ce;  // of the loops before the last
  double consistency = 0;
  std::vector<GateLossValue> gates;  // of the loops before the last
  void Add(const StepValue& other, double share);
  // Calls f(double&) for every number, in an order that equal options share.
  template <typename F>
  void ForEach(F&& f) {
    for (double* number : {&loss, &ce, &kd, &accuracy, &hidden, &consistency}) f(*number);
    for (double& number : exit_ce) f(number);
    for (GateLossValue& gate : gates) {
      for (double* number : {&gate.loss, &gate.accuracy, &gate.agreement}) f(*number);
    }
  }
};

class Student {
 public:
  // `params`, `fading` and `ranks` outlive the student; `fading` may be null.
  Student(Params& params, const ModelConfig& config, const SharingPlan& plan, int64_t max_length,
          ComputeType compute, Recompute recompute, const FadingRest* fading,
          const Ranks& ranks = OneProcess());

  // Adds `scale` times the gradient of the loss on a batch to those of the parameters. `key`
  // decides what is drawn at random: which depths rows skip, which copies of residuals are used. Of
  // several ranks each takes its rows: the mean over ranks of gradients and values is the batch's.
  StepValue AddGradients(const TokenBatch& batch, const Teacher* teacher,
                         const LossOptions& options, double scale, const StepKey& key = {});

  // From now on divergences are from the teacher's most probable tokens, which outlive the student.
  void UseCache(TeacherCache* cache) { cache_ = cache; }

  // Layer-wise alignment: every depth gets the teacher's input at that depth and learns the
  // teacher's output. The loss of a depth is the squared error relative to the squared length of
  // the teacher's update there; depths count alike. No head, and no gradient between depths.
  StepValue AddAlignmentGradients(const TokenBatch& batch, const Teacher& teacher,
                                  const LossOptions& options, double scale,
                                  const StepKey& key = {});

  // Mean cross-entropy of a batch in nats, nothing learnt and nothing skipped.
  double CrossEntropy(const TokenBatch& batch, const LossOptions& options);

  // Where gradients do not reach shared tensors; at first they do everywhere.
  void set_cut_gradients(CutGradients cut) { cut_ = std::move(cut); }

  // Channels of the feed-forward that the next gradients are of: the first so many; at first all.
  void set_ffn_width(int64_t width) { ffn_width_ = width; }

  // The parameters as they are now, for measuring: copies merged, every depth for every row; with
  // what still fades, or without; with the first `ffn_width` channels of the feed-forward.
  Teacher Snapshot(int64_t max_length, bool with_fading, int64_t ffn_width) const;
  const Forward& forward() const { return forward_; }

 private:
  struct Segment {
    int first, end;       // depths
    at::Tensor input;     // a leaf
    at::Tensor output;    // with its graph, or without when it will be computed again
    at::Tensor gradient;  // of `output` from losses there; undefined: none
  };

  std::vector<Segment> MakeSegments(const LossOptions& options) const;
  at::Tensor RunDepths(int first, int end, at::Tensor hidden, const RowsShape& shape) const;
  void RunForward(std::vector<Segment>& segments, at::Tensor hidden, const RowsShape& shape) const;
  at::Tensor RunBackward(std::vector<Segment>& segments, const RowsShape& shape) const;
  void AddHiddenLoss(std::vector<Segment>& segments, const TeacherOutput& taught,
                     const LossOptions& options, double scale, StepValue& value) const;
  void AddExitLosses(std::vector<Segment>& segments, const BatchTokens& tokens,
                     const at::Tensor& last_normed, const LossOptions& options, double scale,
                     StepValue& value, std::vector<std::vector<int32_t>>* best) const;
  void AddGateLosses(const std::vector<Segment>& segments, const RowsShape& shape,
                     std::span<const std::vector<int32_t>> exit_best,
                     std::span<const int32_t> last_best, const LossOptions& options, double scale,
                     StepValue& value) const;
  at::Tensor Embed(const BatchTokens& tokens) const;
  BatchTokens MyTokens(const TokenBatch& batch, const LossOptions& options) const;
  int FirstRow(const TokenBatch& batch) const { return batch.rows * ranks_.rank() / ranks_.size(); }
  double MeanOverRanks(double value) const;
  void AddConsistency(const BatchTokens& tokens, const at::Tensor& embedded,
                      const at::Tensor& first_normed, Segment& first_last,
                      const LossOptions& options, double scale, const StepKey& key,
                      StepValue& value);
  void AddEmbeddingGradients(const BatchTokens& tokens, const at::Tensor& d_hidden);
  // What depths behind the loops make of hidden states that leave them early.
  at::Tensor Epilogue(const at::Tensor& hidden, const RowsShape& shape) const;
  LogitHead Head() const;
  // Most likely tokens when all rows leave with the hidden states at the end of a loop.
  std::vector<int32_t> BestAtExit(const at::Tensor& hidden, const RowsShape& shape) const;
  std::vector<int> ExitEnds() const;  // depths at which the loops before the last end

  Params& params_;
  SharingPlan plan_;
  LoopShape loops_;
  Forward forward_;
  Recompute recompute_;
  const FadingRest* fading_;
  const Ranks& ranks_;
  TeacherCache* cache_ = nullptr;
  int64_t ffn_width_;
  CutGradients cut_;
  LayerDropout dropout_;  // of the batch in hand
};

}  // namespace rondo
