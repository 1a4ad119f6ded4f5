// The choices of a recipe and their names. Some enumerations stand beside what they choose, behind
// LibTorch's headers; here they are only declared.
#pragma once

#include "base/choice.h"
#include "corpus/data_names.h"
#include "fold/fold_names.h"
#include "kernels/grad/vocab_loss.h"
#include "speech/speech_names.h"
#include "train/recipe/schedule.h"
#include "train/tying/tie_state.h"

namespace rondo {

enum class StageKind {
  kDistill,  // end to end
  kAlign,    // every depth on the teacher's own inputs
};
template <>
inline constexpr auto kChoices<StageKind> = Choices("distill", "align");

template <>
inline constexpr auto kChoices<LrSchedule> = Choices("constant", "cosine", "trapezoid");
template <>
inline constexpr auto kChoices<FadeKind> = Choices("none", "linear", "cosine");

enum class FadeBy;  // train/model/fading.h
template <>
inline constexpr auto kChoices<FadeBy> = Choices("scale", "rank");

template <>
inline constexpr auto kChoices<KdKind> = Choices("forward-kl", "reverse-kl", "jensen-shannon",
                                                 "total-variation");

enum class ExitLoss;  // train/model/student.h
template <>
inline constexpr auto kChoices<ExitLoss> = Choices("none", "weighted", "aggressive");
inline constexpr ExitLoss kNoExitLoss = ExitLoss{0};
inline constexpr ExitLoss kAggressiveExitLoss = ExitLoss{2};

enum class Recompute;  // train/model/student.h
template <>
inline constexpr auto kChoices<Recompute> = Choices("none", "loop", "depth");

enum class ComputeType;  // train/model/forward.h
template <>
inline constexpr auto kChoices<ComputeType> = Choices("f32", "bf16");

// [speech]
enum class SpeechTask { kTranscribe, kTranslate, kBoth };  // both: one encoder
template <>
inline constexpr auto kChoices<SpeechTask> = Choices("transcribe", "translate", "both");

// [tying]
enum class TyingMode { kRl, kFixed, kReplay };
template <>
inline constexpr auto kChoices<TyingMode> = Choices("rl", "fixed", "replay");

template <>
inline constexpr auto kChoices<TieUnits> = Choices("layer", "half", "module");
template <>
inline constexpr auto kChoices<TieStart> = Choices("frozen", "independent", "tied");
template <>
inline constexpr auto kChoices<Untie> = Choices("copy", "alias", "restore");

enum class TieNorms { kTied, kOwn };  // with their layer or half, or each layer's own
template <>
inline constexpr auto kChoices<TieNorms> = Choices("tied", "own");

enum class TieGradients { kOwner, kSum };  // of shared tensors: the independent layer's, or of all
template <>
inline constexpr auto kChoices<TieGradients> = Choices("owner", "sum");

enum class TieReward {
  kPerplexity,  // −perplexity (published), which clipping makes constant until it is below the clip
  kBits,        // −bits per token
  kRelative,    // how many percent less cross-entropy than before the decision, on the same batch;
                // what is stored counts by its change too
};
template <>
inline constexpr auto kChoices<TieReward> = Choices("perplexity", "bits", "relative");

enum class TiePolicy {
  kNone,    // every layer its own: conventional training
  kFirst,   // all to layer 0
  kPairs,   // every second layer to the one before it
  kMirror,  // the second half copies the first in reverse
  kRandom,  // each layer to one up to itself, all as likely
  kGreedy,  // most similar layers first, until `keep` are left
  kPlan,    // a sharing plan, as `rondo fold --suggest` proposes
};
template <>
inline constexpr auto kChoices<TiePolicy> = Choices("none", "first", "pairs", "mirror", "random",
                                                    "greedy", "plan");

}  // namespace rondo
