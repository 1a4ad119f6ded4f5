// Folding: a pretrained model in, a relaxed recursive one out.
//
//   FoldOptions options;
//   options.residual = ResidualKind::kLora;
//   options.rank = 64;
//   Model folded = Fold(model, options, pool);
//   Model same_function = Unroll(folded, pool);   // every depth its own merged matrix again
//
// Methods: Bae et al., "Relaxed Recursive Transformers", ICLR 2025, section 2; shared/residual kinds
// as in sharing_plan.h.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "rondo/model.h"

namespace rondo {

class ThreadPool;

// How depths map to blocks. K blocks run `loops` times (the last loop may be short when K·loops
// exceeds the tied depths).
struct TieOrder {
  // identity | cycle (block = d mod K) | sequence (block = d / loops) | middle-cycle | middle-sequence
  // (the same on the middle, with leading and trailing layers of their own)
  std::string order = "cycle";
  int loops = 2;
  int keep_first = 1;  // middle-*: leading layers that stay unique
  int keep_last = 1;   // middle-*: trailing layers
};

// [depths] block ids in order of first use. Throws naming the option that makes no sense.
std::vector<int> TieMap(const TieOrder& order, int depths);

enum class NormPolicy {
  kOwn,       // every depth keeps its gains (default; a full-rank fold is exact)
  kAbsorbed,  // gains of attn_norm and ffn_norm multiplied into the linears that read them (exact);
              // the other norms stay own
  kTied,      // tied like the linears by `init`, as published (a full-rank fold is not exact)
};

enum class InitKind { kStepwise, kAverage, kLower, kUpper, kRandom };

struct FoldOptions {
  std::array<TieOrder, 3> order;      // by ModuleGroup; norms are used only with NormPolicy::kTied
  InitKind init = InitKind::kAverage; // of the shared tensors
  NormPolicy norms = NormPolicy::kOwn;
  bool tie_biases = false;            // as published; default: every depth keeps its biases
  ResidualKind residual = ResidualKind::kLora;
  int rank = 64;                      // clipped to min(in, out) of each matrix
  std::map<Module, int> module_ranks; // overrides `rank`
  uint64_t seed = 0;                  // of InitKind::kRandom
};

// The plan that `options` describe, without touching weights.
SharingPlan MakePlan(const ModelConfig& config, const FoldOptions& options);

// Folds `model` (identity plan) onto `plan`. Throws if the plan does not fit the model.
Model Fold(const Model& model, const SharingPlan& plan, const FoldOptions& options, ThreadPool& pool,
           bool quiet = true);

// The plain model of the same function: identity plan, each depth S + R merged, f32 linears.
Model Unroll(const Model& model, ThreadPool& pool);

}  // namespace rondo
