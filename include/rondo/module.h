// The modules of a transformer layer that a sharing plan can tie: linears, norms and the
// Conformer's depthwise convolution. Those behind kPostFfnNorm and kDown are in speech models
// alone.
//
//   for (const Module m : kAllModules) {
//     if (IsLinear(m)) std::cout << Name(m) << '\n';
//   }
//   Module up = ModuleFromName("up");
//
// Constants and functions without state; any thread may use them.
#pragma once

#include <array>
#include <cstddef>
#include <string_view>

namespace rondo {

enum class Module {
  // Linears, weight [out, in].
  kQ,
  kK,
  kV,
  kO,
  kGate,
  kUp,
  kDown,
  // Attention over an encoder's output (decoders of speech models).
  kCrossQ,
  kCrossK,
  kCrossV,
  kCrossO,
  // The Conformer's feed-forward before attention, and the pointwise halves of its convolution:
  // [2 d_model, d_model] with a gate behind, [d_model, d_model].
  kPreUp,
  kPreDown,
  kConvIn,
  kConvOut,
  // Norms before attention and feed-forward, weight [d_model].
  kAttnNorm,
  kFfnNorm,
  // Norms of each head's queries and keys (Qwen 3, Gemma 3), weight [head_dim].
  kQNorm,
  kKNorm,
  // Norms of a branch's output before the residual sum (Gemma 3), weight [d_model].
  kPostAttnNorm,
  kPostFfnNorm,
  // Norms before cross-attention, the first feed-forward and the convolution, inside the
  // convolution, and at the end of a Conformer layer.
  kCrossNorm,
  kPreFfnNorm,
  kConvNorm,
  kConvMidNorm,
  kOutNorm,
  // Depthwise kernel of the Conformer's convolution, weight [d_model, conv_kernel].
  kConvDepth,
};

inline constexpr int kModuleCount = 27;
inline constexpr int kLinearCount = 15;

inline constexpr std::array<Module, kModuleCount> kAllModules = [] {
  std::array<Module, kModuleCount> all{};
  for (int i = 0; i < kModuleCount; ++i) all[static_cast<size_t>(i)] = static_cast<Module>(i);
  return all;
}();

inline constexpr bool IsLinear(Module m) { return static_cast<int>(m) < kLinearCount; }

// "q", "k", "v", "o", "gate", "up", "down", "cross_q", …, "cross_o", "pre_up", "pre_down",
// "conv_in", "conv_out", "attn_norm", "ffn_norm", "q_norm", "k_norm", "post_attn_norm",
// "post_ffn_norm", "cross_norm", "pre_ffn_norm", "conv_norm", "conv_mid_norm", "out_norm",
// "conv_depth".
std::string_view Name(Module module);
// Throws on an unknown name and suggests the nearest.
Module ModuleFromName(std::string_view name);

// The groups in which users speak of modules.
enum class ModuleGroup { kAttention, kFfn, kNorms };
ModuleGroup GroupOf(Module module);
std::string_view Name(ModuleGroup group);  // "attention", "ffn", "norms"

}  // namespace rondo
