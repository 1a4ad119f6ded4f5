#include "hub/gguf_export_config.h"

#include <cmath>
#include <string>

#include "hub/gguf_rope.h"
#include "rondo/error.h"

namespace rondo {
namespace {

// A period p such that exactly the layers p-1, 2p-1, … are global; 0 if the layers have none.
int GlobalEvery(const ModelConfig& config) {
  for (int period = 1; period <= config.layers + 1; ++period) {
    bool fits = true;
    for (int i = 0; i < config.layers && fits; ++i) {
      fits = config.IsLocal(i) == (i % period != period - 1);
    }
    if (fits) return period;
  }
  return 0;
}

void Require(bool ok, const GgufArch& arch, const char* field, const std::string& expected) {
  if (ok) return;
  throw Error({.function = "ExportGguf",
               .problem = "not expressible in GGUF architecture '" + std::string(arch.name) + "'",
               .expected = expected,
               .file = {},
               .field = field});
}

void CheckRope(const ModelConfig& config, const GgufArch& arch) {
  if (arch.positions != PositionKind::kRope) return;
  const bool partial = arch.name == "gptneox";
  Require(partial || config.rotary_dim == config.head_dim, arch, "rotary_dim", "head_dim");
  const RopeScaling& scaling = config.rope_scaling;
  const bool factors =
      scaling.kind == RopeScalingKind::kLlama3 || scaling.kind == RopeScalingKind::kLongRope;
  Require(!factors || arch.interleaved_rope, arch, "rope_scaling", "none, linear or yarn");
  Require(scaling.kind != RopeScalingKind::kDynamic, arch, "rope_scaling",
          "no dynamic scaling: llama.cpp has none");
  if (scaling.kind != RopeScalingKind::kYarn) return;
  Require(config.rope_local_theta == 0, arch, "rope_scaling", "none or linear with local layers");
  const RopeScaling usual;
  Require(scaling.truncate && scaling.beta_fast == usual.beta_fast &&
              scaling.beta_slow == usual.beta_slow,
          arch, "rope_scaling", "yarn with beta_fast 32, beta_slow 1 and truncate");
}

void CheckWindow(const ModelConfig& config, const GgufArch& arch) {
  if (config.local_layers.empty()) return;
  const int every = GlobalEvery(config);
  if (arch.name == "gemma3") {
    Require(every > 0, arch, "local_layers", "every n-th layer global and the others local");
    return;
  }
  // llama.cpp itself attends to all keys here, as for Mistral files by its own converter: equal
  // results up to `sliding_window` positions. The key is written so that readers can know better.
  Require(arch.name == "llama" && every > config.layers, arch, "local_layers",
          "no sliding window, or one on every layer of a llama model");
}

void CheckBiases(const ModelConfig& config, const GgufArch& arch) {
  const bool any = arch.name == "llama" || arch.norm == NormKind::kLayer;
  Require(any || (!config.o_bias && !config.ffn_bias), arch, "bias", "none on o, gate, up, down");
  Require(any || arch.name.starts_with("qwen") || !config.qkv_bias, arch, "qkv_bias", "none");
  Require(arch.name == "qwen2" || !config.head_bias, arch, "head_bias", "none");
}

void SetLongRope(const RopeScaling& scaling, const GgufArch& arch, GgufWriter* writer) {
  const bool yarn = scaling.kind == RopeScalingKind::kYarn;
  if (!yarn && scaling.kind != RopeScalingKind::kLongRope) return;
  const std::string prefix = std::string(arch.name) + ".rope.scaling.";
  writer->SetString(prefix + "type", yarn ? "yarn" : "longrope");
  writer->SetF32(prefix + "factor", scaling.factor);
  // Of YaRN's factor llama.cpp supplies the usual part itself.
  const float usual = yarn ? YarnAttentionFactor(scaling.factor) : 1;
  writer->SetF32(prefix + "attn_factor", scaling.attention_factor / usual);
}

}  // namespace

void CheckGgufCanExpress(const ModelConfig& config, const GgufArch& arch) {
  Require(config.norm == arch.norm, arch, "norm", "the norm of the family");
  Require(config.positions == arch.positions, arch, "positions", "the positions of the family");
  Require(config.activation == arch.activation, arch, "activation",
          "the activation of the published models, since GGUF does not store it");
  Require(config.gated_ffn == arch.gated_ffn, arch, "gated_ffn", "that of the family");
  Require(config.qk_norm == arch.qk_norm, arch, "qk_norm", "that of the family");
  Require(config.post_norms == arch.post_norms, arch, "post_norms", "that of the family");
  Require(!config.parallel_residual || arch.name == "gptneox", arch, "parallel_residual", "false");
  const float scale = arch.scaled_embedding ? std::sqrt(static_cast<float>(config.d_model)) : 1.0f;
  Require(std::abs(config.embed_scale - scale) <= 1e-6f * scale, arch, "embed_scale",
          std::to_string(scale));
  Require(config.attn_softcap == 0, arch, "attn_softcap", "0");
  Require(config.logit_softcap == 0 || arch.name == "gemma3", arch, "logit_softcap", "0");
  Require(config.tied_embeddings || arch.name != "gemma", arch, "tied_embeddings", "true");
  const bool square = arch.fused_qkv || arch.name == "qwen2";
  Require(!square || config.heads * config.head_dim == config.d_model, arch, "head_dim",
          "d_model / heads");
  Require(!arch.fused_qkv || config.kv_heads == config.heads, arch, "kv_heads", "heads");
  CheckRope(config, arch);
  CheckWindow(config, arch);
  CheckBiases(config, arch);
}

void SetGgufConfig(const ModelConfig& config, const GgufArch& arch, GgufWriter* writer) {
  const auto key = [&](const char* suffix) { return std::string(arch.name) + "." + suffix; };
  const auto set = [&](const char* suffix, int value) {
    writer->SetU32(key(suffix), static_cast<uint32_t>(value));
  };
  set("block_count", config.layers);
  set("context_length", config.max_positions);
  set("embedding_length", config.d_model);
  set("feed_forward_length", config.d_ff);
  set("vocab_size", config.vocab);
  set("attention.head_count", config.heads);
  set("attention.head_count_kv", config.kv_heads);
  set("attention.key_length", config.head_dim);
  set("attention.value_length", config.head_dim);
  writer->SetF32(key(config.norm == NormKind::kRms ? "attention.layer_norm_rms_epsilon"
                                                   : "attention.layer_norm_epsilon"),
                 config.norm_eps);
  if (arch.name == "gptneox") {
    writer->SetBool(key("use_parallel_residual"), config.parallel_residual);
  }
  if (config.positions == PositionKind::kRope) {
    set("rope.dimension_count", config.rotary_dim);
    writer->SetF32(key("rope.freq_base"), config.rope_theta);
  }
  if (config.rope_scaling.kind == RopeScalingKind::kLinear) {
    writer->SetString(key("rope.scaling.type"), "linear");
    writer->SetF32(key("rope.scaling.factor"), config.rope_scaling.factor);
  } else if (config.rope_scaling.kind != RopeScalingKind::kNone) {
    set("rope.scaling.original_context_length", config.rope_scaling.original_max_positions);
  }
  SetLongRope(config.rope_scaling, arch, writer);
  if (config.logit_softcap != 0) {
    writer->SetF32(key("final_logit_softcapping"), config.logit_softcap);
  }
  if (config.local_layers.empty()) return;
  set("attention.sliding_window", config.sliding_window);
  if (arch.name == "gemma3") {
    set("attention.sliding_window_pattern", GlobalEvery(config));
    writer->SetF32(key("rope.freq_base_swa"),
                   config.rope_local_theta > 0 ? config.rope_local_theta : config.rope_theta);
  }
}

}  // namespace rondo
