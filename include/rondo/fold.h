// Folding: a pretrained model in, a relaxed recursive one out.
//
//   FoldOptions options;
//   options.residual = ResidualKind::kLora;
//   options.rank = 64;
//   Model folded = Fold(model, MakePlan(model.config, options), options, pool);
//   Model same_function = Unroll(folded, pool);   // every depth its own merged matrix again
//
// Methods: Bae et al., "Relaxed Recursive Transformers", ICLR 2025, section 2; shared/residual
// kinds as in sharing_plan.h.
// Any number of threads may call the functions at once; those that share a pool take turns.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "rondo/model.h"
#include "rondo/thread_pool.h"

namespace rondo {

// How depths map to blocks. With n tied depths (all, or the middle of middle-*) and B loops there
// are K = ceil(n / B) blocks. An uneven division leaves the end short: the last loop of a cycle
// runs only the first blocks, the last group of a sequence has fewer depths. A block that only one
// depth uses simply is that depth's own layer.
struct TieOrder {
  // identity | cycle (block = d mod K) | sequence (block = d / B) | middle-cycle | middle-sequence
  // (the same on the middle, with leading and trailing layers of their own) | custom (`blocks`)
  std::string order = "cycle";
  int loops = 2;                 // B, 1 to n
  int keep_first = 1;            // middle-*: leading layers that stay unique
  int keep_last = 1;             // middle-*: trailing layers
  std::vector<int> blocks = {};  // custom: [depths] any labels, 0 or more; equal labels share
};

// [depths] block ids in order of first use. Throws naming the option that makes no sense.
std::vector<int> TieMap(const TieOrder& order, int depths);

// Free tie maps written by hand, one group a line, "#" starts a comment:
//
//   all: 0 1 2 3 0 1 2 3        # or a line for each of attention, ffn and norms
//   ffn: 0 0 1 1 2 2 3 3        # later lines override
//
// Returns orders by ModuleGroup, identity for a group that no line names; `file` is named in
// errors.
std::array<TieOrder, 3> TieOrdersFromText(std::string_view text, const std::string& file);

enum class NormPolicy {
  kOwn,     // every depth keeps its gains (default; a full-rank fold is exact)
  kAbsorb,  // gains of attn_norm and ffn_norm multiplied into the linears that read them (exact);
            // the other norms stay own
  kTied,    // tied like the linears by `init`, as published (a full-rank fold is not exact)
};

// Where a shared tensor comes from. Let D be the n depths whose block is shared, in order, and k
// count the K shared blocks in order of first use. For cycle these are the published choices.
enum class InitKind {
  kStepwise,  // layer D[round(k (n - 1) / (K - 1))], half to even: first and last kept
  kAverage,   // mean over the depths tied to the block
  kLower,     // layer D[k], the first K
  kUpper,     // layer D[n - K + k], the last K
  kRandom,    // normal with deviation 0.02; norms 1, biases 0
};

// What residuals are at first.
enum class ResidualStart {
  kFit,   // nearest to what sharing takes from the layer
  kZero,  // nothing added to the shared tensor: for comparison, and for training from there
};

struct FoldOptions {
  std::array<TieOrder, 3> order = {};  // by ModuleGroup; norms are used only with NormPolicy::kTied
  InitKind init = InitKind::kAverage;  // of the shared tensors
  NormPolicy norms = NormPolicy::kOwn;
  bool tie_biases = false;  // as published; default: every depth keeps its biases
  ResidualKind residual = ResidualKind::kLora;
  int rank = 64;                            // clipped to min(in, out) of each matrix
  std::map<Module, int> module_ranks = {};  // overrides `rank`
  ResidualStart residual_start = ResidualStart::kFit;
  int prefix = 0;     // prefix vectors of every depth; 0: none
  uint64_t seed = 0;  // of InitKind::kRandom, ResidualStart::kZero and prefix vectors
};

// The plan that `options` describe, without touching weights. Ranks are 0 at depths that share with
// nobody. Throws naming the option that does not fit the model; LayerNorms are absorbed only where
// the linears that read them have biases.
SharingPlan MakePlan(const ModelConfig& config, const FoldOptions& options);

// Folds `model` (identity plan) onto `plan`, which also decides norms, biases, residuals and ranks;
// of `options` only `init`, `residual_start` and `seed` are used. Prefix vectors start as small
// random numbers. Fitted residuals have the least Frobenius error for their kind (exactly for lora,
// muldiag and kronecker; by alternating fits for lora-diag and dora). Blocks copied from one layer
// keep its type, computed tensors are f32. Throws if plan or weights do not fit.
Model Fold(const Model& model, const SharingPlan& plan, const FoldOptions& options,
           ThreadPool& pool, bool quiet = true);

// The model of the same function that shares nothing: identity plan, each depth S + R merged, f32
// linears. Prefix vectors stay, as no linear can hold them.
Model Unroll(const Model& model, ThreadPool& pool);

}  // namespace rondo
