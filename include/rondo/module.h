// The modules of a transformer layer that a sharing plan can tie: seven linears, up to six norms.
#pragma once

#include <array>
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
  // Norms before attention and feed-forward, weight [d_model].
  kAttnNorm,
  kFfnNorm,
  // Norms of each head's queries and keys (Qwen 3, Gemma 3), weight [head_dim].
  kQNorm,
  kKNorm,
  // Norms of a branch's output before the residual sum (Gemma 3), weight [d_model].
  kPostAttnNorm,
  kPostFfnNorm,
};

inline constexpr int kModuleCount = 13;
inline constexpr int kLinearCount = 7;

inline constexpr std::array<Module, kModuleCount> kAllModules = {
    Module::kQ,          Module::kK,     Module::kV,     Module::kO,
    Module::kGate,       Module::kUp,    Module::kDown,  Module::kAttnNorm,
    Module::kFfnNorm,    Module::kQNorm, Module::kKNorm, Module::kPostAttnNorm,
    Module::kPostFfnNorm};

inline constexpr bool IsLinear(Module m) { return static_cast<int>(m) < kLinearCount; }

// "q", "k", "v", "o", "gate", "up", "down", "attn_norm", "ffn_norm", "q_norm", "k_norm",
// "post_attn_norm", "post_ffn_norm".
std::string_view Name(Module module);
// Throws on an unknown name and suggests the nearest.
Module ModuleFromName(std::string_view name);

// The groups in which users speak of modules.
enum class ModuleGroup { kAttention, kFfn, kNorms };
ModuleGroup GroupOf(Module module);
std::string_view Name(ModuleGroup group);  // "attention", "ffn", "norms"

}  // namespace rondo
