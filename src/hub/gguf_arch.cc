#include "hub/gguf_arch.h"

#include <cmath>
#include <vector>

#include "base/strings.h"
#include "rondo/error.h"

namespace rondo {
namespace {

constexpr GgufArch kArchs[] = {
    {.name = "llama",
     .family = "llama",
     .norm = NormKind::kRms,
     .positions = PositionKind::kRope,
     .activation = Activation::kSilu,
     .gated_ffn = true,
     .qk_norm = false,
     .post_norms = false,
     .fused_qkv = false,
     .interleaved_rope = true,
     .scaled_embedding = false},
    {.name = "gemma",
     .family = "gemma",
     .norm = NormKind::kRms,
     .positions = PositionKind::kRope,
     .activation = Activation::kGeluTanh,
     .gated_ffn = true,
     .qk_norm = false,
     .post_norms = false,
     .fused_qkv = false,
     .interleaved_rope = false,
     .scaled_embedding = true},
    {.name = "gemma3",
     .family = "gemma3_text",
     .norm = NormKind::kRms,
     .positions = PositionKind::kRope,
     .activation = Activation::kGeluTanh,
     .gated_ffn = true,
     .qk_norm = true,
     .post_norms = true,
     .fused_qkv = false,
     .interleaved_rope = false,
     .scaled_embedding = true},
    {.name = "qwen2",
     .family = "qwen2",
     .norm = NormKind::kRms,
     .positions = PositionKind::kRope,
     .activation = Activation::kSilu,
     .gated_ffn = true,
     .qk_norm = false,
     .post_norms = false,
     .fused_qkv = false,
     .interleaved_rope = false,
     .scaled_embedding = false},
    {.name = "qwen3",
     .family = "qwen3",
     .norm = NormKind::kRms,
     .positions = PositionKind::kRope,
     .activation = Activation::kSilu,
     .gated_ffn = true,
     .qk_norm = true,
     .post_norms = false,
     .fused_qkv = false,
     .interleaved_rope = false,
     .scaled_embedding = false},
    {.name = "gptneox",
     .family = "gpt_neox",
     .norm = NormKind::kLayer,
     .positions = PositionKind::kRope,
     .activation = Activation::kGelu,
     .gated_ffn = false,
     .qk_norm = false,
     .post_norms = false,
     .fused_qkv = true,
     .interleaved_rope = false,
     .scaled_embedding = false},
    {.name = "gpt2",
     .family = "gpt2",
     .norm = NormKind::kLayer,
     .positions = PositionKind::kLearned,
     .activation = Activation::kGeluTanh,
     .gated_ffn = false,
     .qk_norm = false,
     .post_norms = false,
     .fused_qkv = true,
     .interleaved_rope = false,
     .scaled_embedding = false},
};

std::string_view GgufName(Module module) {
  switch (module) {
    case Module::kQ:
      return "attn_q";
    case Module::kK:
      return "attn_k";
    case Module::kV:
      return "attn_v";
    case Module::kO:
      return "attn_output";
    case Module::kGate:
      return "ffn_gate";
    case Module::kUp:
      return "ffn_up";
    case Module::kDown:
      return "ffn_down";
    case Module::kAttnNorm:
      return "attn_norm";
    case Module::kFfnNorm:
      return "ffn_norm";
    case Module::kQNorm:
      return "attn_q_norm";
    case Module::kKNorm:
      return "attn_k_norm";
    case Module::kPostAttnNorm:
      return "post_attention_norm";
    case Module::kPostFfnNorm:
      return "post_ffw_norm";
    default:
      break;
  }
  return Name(module);
}

std::string LayerTensor(int depth, std::string_view name, std::string_view part) {
  return "blk." + std::to_string(depth) + "." + std::string(name) + "." + std::string(part);
}

}  // namespace

const GgufArch& GgufArchOf(const std::string& name, const std::string& file) {
  std::vector<std::string> names;
  for (const GgufArch& arch : kArchs) {
    if (arch.name == name) return arch;
    names.emplace_back(arch.name);
  }
  throw Error({.function = "LoadGgufModel",
               .problem = "unsupported architecture '" + name + "'",
               .expected = "one of " + Join(names, ", "),
               .file = file,
               .field = "general.architecture"});
}

const GgufArch& GgufArchOfFamily(const std::string& family) {
  if (family == "mistral") return GgufArchOfFamily("llama");
  for (const GgufArch& arch : kArchs) {
    if (arch.family == family) return arch;
  }
  throw Error({.function = "ExportGguf",
               .problem = "no GGUF architecture for models of family '" + family + "'",
               .expected = {},
               .file = {},
               .field = "family"});
}

std::string GgufTensorName(int depth, Module module, std::string_view part) {
  return LayerTensor(depth, GgufName(module), part);
}

std::string GgufFusedQkvName(int depth, std::string_view part) {
  return LayerTensor(depth, "attn_qkv", part);
}

float GgufAttentionScale(const GgufArch& arch, const ModelConfig& config) {
  constexpr int kLayersOf27B = 62;
  const bool by_width = arch.name == "gemma3" && config.layers == kLayersOf27B;
  const int width = by_width ? config.d_model / config.heads : config.head_dim;
  return 1.0f / std::sqrt(static_cast<float>(width));
}

}  // namespace rondo
