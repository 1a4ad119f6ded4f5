// Folding fitted to real text instead of to the weights alone, and plans suggested by measurement.
//
//   FoldOptions fold;
//   SharingPlan plan = MakePlan(model.config, fold);
//   Model folded = FoldCalibrated(model, plan, fold, tokens, {}, pool);
//
//   SuggestReport report = Suggest(model, fold, tokens, {}, pool);
//   for (const Suggestion& s : report.suggestions) {
//     std::cout << s.non_embedding_parameters << ' ' << s.perplexity << '\n';   // of s.plan
//   }
//
// The functions are deterministic: the same input gives the same bytes whatever the thread count.
// Any number of threads may call the functions at once; those that share a pool take turns.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "rondo/fold.h"

namespace rondo {

struct CalibrateOptions {
  int context = 512;           // tokens of one calibration sequence
  int64_t max_tokens = 16384;  // sequences are spread evenly over the text; 0: all of it
  bool sequential = true;      // step 3 below; without it every depth sees the original's inputs
  double damping = 1e-3;       // ridge on moments, as a share of their mean diagonal
  // Ridge of the sequential pass's regressions in units of each input's energy, times inputs /
  // tokens: keeps few tokens from being fitted to the letter.
  double shrinkage = 0.5;
  // Ranks of the plan are a budget: as many parameters, spread over the tied groups by measured
  // sensitivity. Not for encoders.
  bool allocate_ranks = false;
};

// Folds `model` (identity plan) onto `plan` so that the outputs of the linears, not their weights,
// change least on `tokens`:
//   1. moments C = E[x xᵀ] of the input of every linear at every depth of the original;
//      and weights of the outputs of gate, up and v: what an error there does to the branch's
//      output;
//   2. shared tensor S and residuals R_d of each tied group minimise Σ_d ‖(S + R_d − W_d) C_d^½‖²,
//      by block coordinate descent over the R_d with S eliminated (monotone; for two depths, equal
//      ranks and lora, the first sweep is the optimum);
//   3. a sequential pass from the first depth to the last, with x̃ the input that the folded prefix
//      really gives: the target of each linear becomes the least-squares map from x̃ to the output
//      the original had, plus, for o and down, the error standing in the residual stream, so that
//      errors are made good rather than summed up; modules of one depth only are refitted too.
// fold.init is not used; norms and biases are made as Fold() makes them. A full-rank fold is exact
// to rounding where Fold()'s is. Memory beside model and result: the moments, 4·L·(3·d_model² +
// d_ff²) bytes, and about 40·d_model + 28·d_ff bytes a calibration token.
// With `allocate_ranks`, between 1 and 2: the fit's error in each group at several ranks, times
// what that error does to the model's predictions (KL(original ‖ this group tied) over the error,
// at the plan's rank), is lowered by giving the next ranks where they lower it most a parameter.
// The result's plan has these ranks. Throws for kronecker residuals, for fewer than two tokens, and
// where Fold() throws.
Model FoldCalibrated(const Model& model, const SharingPlan& plan, const FoldOptions& fold,
                     std::span<const int32_t> tokens, const CalibrateOptions& options,
                     ThreadPool& pool, bool quiet = true);

// The same for an encoder (speech_model.h): `rows` [sequences · context, d_model] are what enters
// its first layer, and positions of a sequence see each other. Of `options`, max_tokens is not
// used. Throws for Conformer layers, and for rows that are no whole sequences.
Model FoldEncoderCalibrated(const Model& model, const SharingPlan& plan, const FoldOptions& fold,
                            std::vector<float> rows, const CalibrateOptions& options,
                            ThreadPool& pool, bool quiet = true);

struct SuggestOptions {
  CalibrateOptions calibrate = {};   // of the candidate ties and the suggested folds
  int64_t tie_tokens = 128;          // text on which each candidate tie is measured
  int64_t evaluation_tokens = 4096;  // held-out end of the text, for the perplexity of suggestions
  int points = 4;                    // suggestions along the curve
};

struct Suggestion {
  SharingPlan plan = {};
  int64_t non_embedding_parameters = 0;
  // Sum of the measured losses of its ties, nats per token. A first-order estimate: it orders
  // plans; the loss of a whole plan was 1.3 to 7 times as large where it was measured.
  double predicted_kl = 0;
  double perplexity = 0;  // measured after FoldCalibrated, on held-out text
};

struct SuggestReport {
  int depths = 0;
  double perplexity = 0;                // of the model itself on the held-out text
  int64_t held_out_tokens = 0;          // of that text: the end of what was given
  std::vector<double> similarity = {};  // [depths, depths] linear CKA of the layers' updates
  // [depths, depths] KL(original ‖ tied), nats per token, when the column's depth runs with the
  // linears of the row's depth and norms of its own.
  std::vector<double> tie_loss = {};
  // [depths - 1] the same for calibrated ties of depth d and d + 1 with the residual asked for.
  std::vector<double> attention_tie_loss = {};
  std::vector<double> ffn_tie_loss = {};
  std::vector<Suggestion> suggestions = {};  // largest first
};

// Measures which layers can share and proposes plans along the size/perplexity curve. Neighbours
// tie best, so candidates are sets of disjoint pairs of neighbours, separately for attention and
// feed-forward; the loss of a set is predicted as the sum of its pairs' and minimised by dynamic
// programming for every number of pairs. Only `residual`, `rank`, `module_ranks`, `norms` and
// `tie_biases` of `fold` count. Throws rondo::Error when there is too little text.
SuggestReport Suggest(const Model& model, const FoldOptions& fold, std::span<const int32_t> tokens,
                      const SuggestOptions& options, ThreadPool& pool, bool quiet = true);

}  // namespace rondo
