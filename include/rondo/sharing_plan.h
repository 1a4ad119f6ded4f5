// The sharing plan: what is done to a model. Which depth uses which stored tensors, what each depth
// adds of its own, which depths are gone, and what is stored smaller.
//
//     y = gain[depth, module] ⊙ (S[tau(depth, module)] · x + R[depth, module](x) + bias)
//
//   SharingPlan plan = IdentityPlan(config);          // nothing shared
//   plan[Module::kUp].blocks = {0, 1, 0, 1};          // depths 2 and 3 return to 0 and 1
//   plan.Validate(config);                            // names field, value and what is expected
//
// Plain data without pointers; stored as JSON under the key "rondo" of config.json. Strategies are
// functions that produce a plan (MakePlan() of fold.h); nothing downstream knows which one did.
// Threads may read one at once, or copy it.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "rondo/model_config.h"
#include "rondo/module.h"

namespace rondo {

// How a depth corrects the shared matrix S' it uses. Tensor names are
// residual.<depth>.<module>.<part>.
enum class ResidualKind {
  kNone,
  kLora,       // y = S'x + B(Ax);                     a [rank, in], b [out, rank]
  kLoraDiag,   // y = S'x + B(Ax) + D x;               … and diag [min(in, out)] (Wang, Li 2024)
  kDora,       // y = m ⊙ (S' + BA)x / ‖rows of S' + BA‖; … and magnitude [out]
  kMulDiag,    // y = S'(d ⊙ x);                       scale [in] (Terraformer); rank is ignored
  kKronecker,  // y = S'x + Σ_r (A_r ⊗ B_r)x;          a [rank, out_a, in_a], b [rank, out/out_a,
               // in/in_a]
};

std::string_view Name(ResidualKind kind);  // none, lora, lora-diag, dora, muldiag, kronecker
ResidualKind ResidualKindFromName(std::string_view name);

// A factor on a linear's output at one depth, so that a pass that returns to a block can begin as
// nothing (0) and learn how much it adds. Stored as residual.<depth>.<module>.gain.
enum class GainKind {
  kNone,
  kScalar,  // [1]
  kVector,  // [out]
};

std::string_view Name(GainKind kind);  // none, scalar, vector
GainKind GainKindFromName(std::string_view name);

// A norm whose gain and bias were absorbed into the linears that read it has no tensor.
inline constexpr int kAbsorbed = -1;

struct ModulePlan {
  // [depths] block of each depth; block ids of a module are 0..K-1 without gaps, in order of first
  // use. For norms all entries may be kAbsorbed. Empty when the model has no such module.
  std::vector<int> blocks = {};
  // Linears with bias (and LayerNorm norms): true gives each depth its own bias
  // (residual.<depth>.<module>.bias), false ties it along with the weight.
  bool own_bias = false;
  ResidualKind residual = ResidualKind::kNone;
  // [depths] residual rank; 0: no residual at that depth. Empty with kNone.
  std::vector<int> ranks = {};
  // [blocks] rank of a block that is stored as two factors, S = b · a with a [rank, in] and
  // b [out, rank]; 0: a whole matrix. Empty: all blocks are whole. Linears only.
  std::vector<int> factors = {};
  // [depths] Empty: no gains. Linears only.
  std::vector<GainKind> gains = {};

  int BlockCount() const;            // K: unique blocks
  int FactorRank(int block) const {  // 0: a whole matrix
    return factors.empty() ? 0 : factors[static_cast<size_t>(block)];
  }
  GainKind Gain(int depth) const {
    return gains.empty() ? GainKind::kNone : gains[static_cast<size_t>(depth)];
  }
  bool operator==(const ModulePlan&) const = default;
};

// The type in which matrices are to be stored whose names match `pattern`, in which "*" stands for
// any characters and "?" for one. Of several rules the last that matches counts.
struct TensorTypeRule {
  std::string pattern = {};
  DType type = DType::kF32;
  bool operator==(const TensorTypeRule&) const = default;
};

struct SharingPlan {
  // Format 2 added gains, factors and everything from `gone` on; plans without them are written in
  // format 1.
  static constexpr int kFormat = 2;
  static constexpr int kMaxPrefix = 1024;

  std::string order = "identity";  // what produced it, for people: cycle, sequence, …, custom
  int loops = 1;                   // B, for people; the tie maps below are what counts
  int depths = 0;                  // L
  // A learned exit gate behind each loop but the last; see weights.h.
  bool exit_gate = false;
  // P: trained keys and values that every query of a depth sees besides its window; 0: none. See
  // weights.h.
  int prefix = 0;
  // Depths of the original model that were dropped, ascending, counted from 0. The plan's own
  // depths are those that are left: the original had depths + gone.size() of them.
  std::vector<int> gone = {};
  // [depths] channels of the feed-forward (gate, up, down); empty: d_ff everywhere. Depths that
  // share one of these modules have the same width.
  std::vector<int> ffn_widths = {};
  // Depths before which a linear patch stands for what is gone there: h += P h, with P
  // patch.<depth>.weight [d_model, d_model]. Ascending.
  std::vector<int> patches = {};
  // r: the embedding is embed.weight [vocab, r] times embed_projection.weight [d_model, r]ᵀ; a tied
  // head is the same product. 0: one matrix.
  int embedding_rank = 0;
  std::vector<TensorTypeRule> types = {};
  std::array<ModulePlan, kModuleCount> modules = {};

  ModulePlan& operator[](Module m) { return modules[static_cast<size_t>(m)]; }
  const ModulePlan& operator[](Module m) const { return modules[static_cast<size_t>(m)]; }

  // Whether any tensor is used by more than one depth.
  bool SharesAnything() const;
  // Whether `depth` adds a residual to linear `m`: kind is not none and, where it counts, rank > 0.
  bool HasResidual(Module m, int depth) const;
  // Whether depths add anything of their own: a residual of any kind, a gain, a linear patch, or
  // prefix vectors.
  bool HasResiduals() const;
  // Whether the stored tensors differ in shape or number from those of a plain model of the same
  // configuration, so that only rondo can read them.
  bool IsPlain() const;
  bool HasPatch(int depth) const;
  int FfnWidth(const ModelConfig& config, int depth) const;
  // Weight shape of `m` at `depth`, whole: [out, in], or [width] of a norm.
  Shape MatrixShape(const ModelConfig& config, Module m, int depth) const;
  // The first depth that uses a block.
  int FirstUse(Module m, int block) const;
  void Validate(const ModelConfig& config) const;
  bool operator==(const SharingPlan&) const = default;
};

// Every depth has its own tensors.
SharingPlan IdentityPlan(const ModelConfig& config);

// The loops that a plan contains: after `prologue` depths, `stages` blocks run `loops` times in the
// same order, then `epilogue` depths follow. A plan that does not return to its blocks in this way
// (identity, sequence) is one loop of all depths.
struct LoopShape {
  int prologue = 0;
  int stages = 0;  // depths of one loop
  int loops = 1;
  int epilogue = 0;
  int Depth(int loop, int stage) const { return prologue + loop * stages + stage; }
  int EpilogueDepth(int i) const { return prologue + loops * stages + i; }
  bool operator==(const LoopShape&) const = default;
};

// What counts are the tie maps of the linears, all of them together. The loops cover at least half
// of the depths, and as many as possible.
LoopShape FindLoops(const SharingPlan& plan);

// JSON object {"format": 2, "order": …, "loops": …, "depths": …, "modules": {"q": {"blocks": […],
// "residual": "lora", "rank": 64 or […],
// "factors": […], "gain": "scalar" or […]}, …}, "gone": […], "ffn_widths": […], "patches": […],
// "embedding_rank": 64, "types": [["blocks.*", "q3_0"], …]}. Parse refuses unknown keys and
// versions; `file` is named in errors.
std::string PlanToJson(const SharingPlan& plan);
SharingPlan PlanFromJson(std::string_view json, const std::string& file);

// Output and input sizes (out_a, in_a) of the first Kronecker factor for a matrix [out, in]: the
// divisors nearest to the square roots.
std::array<int64_t, 2> KroneckerFactor(int64_t out, int64_t in);

}  // namespace rondo
