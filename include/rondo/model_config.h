// What a transformer is, as data: a decoder of text, or a speech model's encoder or decoder.
// Families (Llama, Gemma, Qwen, …) differ only in the values of these fields; nothing downstream
// branches on `family`, which is kept to write files back.
//
// Loaders bring every family into one canonical form: linears are [out, in] and separate (no fused
// QKV), rotary embedding pairs element i with i + rotary_dim/2 (Hugging Face order), norm gains are
// the factor itself (Gemma's "1 + weight" is added up at load), so that the engine has one path.
//
//   ModelConfig config;
//   config.family = "llama";
//   config.layers = 12;                             // and so on
//   config.Validate();                              // names the first field that makes no sense
//   Shape shape = config.ModuleShape(Module::kUp);  // [d_ff, d_model]
//
// A plain value: threads may read one at once, or copy it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "rondo/module.h"
#include "rondo/tensor.h"

namespace rondo {

enum class NormKind { kRms, kLayer };  // RMSNorm (gain), LayerNorm (gain and bias)
// kSinusoidal: the table of SinusoidalPositions (speech_model.h), added to the input and not
// stored.
enum class PositionKind { kRope, kLearned, kSinusoidal };
enum class Activation { kSilu, kGelu, kGeluTanh, kRelu };  // kGelu is the exact erf form
// How rotary frequencies are changed for texts longer than those of pretraining; the formulas are
// those of transformers. kDynamic and kLongRope depend on the length of the text.
enum class RopeScalingKind { kNone, kLinear, kLlama3, kYarn, kDynamic, kLongRope };

struct RopeScaling {
  RopeScalingKind kind = RopeScalingKind::kNone;
  float factor = 1;
  // Llama 3 only.
  float low_freq_factor = 1;
  float high_freq_factor = 4;
  int original_max_positions = 0;  // positions of pretraining; not used by kLinear
  // YaRN only: frequencies with more turns than beta_fast in the original positions stay, those
  // with fewer than beta_slow are divided by `factor`. `truncate` rounds the border to whole
  // dimensions.
  float beta_fast = 32;
  float beta_slow = 1;
  bool truncate = true;
  // YaRN and LongRoPE: factor on cosines and sines.
  float attention_factor = 1;
  // LongRoPE only: divisors of the frequencies, [rotary_dim / 2], for texts of up to
  // original_max_positions and for longer ones.
  std::vector<float> short_factors = {};
  std::vector<float> long_factors = {};
  bool DependsOnLength() const {
    return kind == RopeScalingKind::kDynamic || kind == RopeScalingKind::kLongRope;
  }
  bool operator==(const RopeScaling&) const = default;
};

struct ModelConfig {
  // Hugging Face's model_type: llama, mistral, gemma, gemma3_text, qwen2, qwen3, gpt_neox, gpt2.
  std::string family = {};

  int layers = 0;  // logical depth L
  int d_model = 0;
  int d_ff = 0;
  int heads = 0;
  int kv_heads = 0;
  int head_dim = 0;
  int vocab = 0;  // 0: an encoder, which has neither embedding nor head
  int max_positions = 0;

  NormKind norm = NormKind::kRms;
  float norm_eps = 1e-5f;
  bool qk_norm = false;            // q_norm and k_norm exist
  bool post_norms = false;         // post_attn_norm and post_ffn_norm exist
  bool parallel_residual = false;  // x + attn(norm(x)) + ffn(norm'(x)), GPT-NeoX

  PositionKind positions = PositionKind::kRope;
  int rotary_dim = 0;  // leading elements of each head that rotate
  float rope_theta = 10000;
  RopeScaling rope_scaling = {};  // not applied to local layers that have their own theta
  float rope_local_theta = 0;  // theta of local (sliding-window) layers; 0: the same as rope_theta

  Activation activation = Activation::kSilu;
  bool gated_ffn = true;  // down(act(gate x) * up x); otherwise down(act(up x)) and no gate module

  float embed_scale = 1;   // factor on the embedding (Gemma: sqrt(d_model))
  float attn_scale = 0;    // factor on q·k; loaders set it, normally 1/sqrt(head_dim)
  float attn_softcap = 0;  // 0: none
  float logit_softcap = 0;

  int sliding_window = 0;                  // keys a local layer sees, including the current one
  std::vector<uint8_t> local_layers = {};  // [layers], 1: uses the sliding window; empty: none does

  bool qkv_bias = false;
  bool o_bias = false;
  bool ffn_bias = false;
  bool tied_embeddings = false;  // head = embedding
  bool head_bias = false;

  // Speech (speech_model.h).
  bool causal = true;            // false: an encoder, whose positions see later ones too
  bool cross_attention = false;  // a decoder that attends to an encoder's output
  // Above 0: Conformer layers (Gulati et al. 2020): half a feed-forward, attention, a convolution
  // over so many positions, half a feed-forward, a norm.
  int conv_kernel = 0;

  int bos_token = -1;
  std::vector<int> eos_tokens = {};

  bool HasModule(Module m) const;
  bool HasBias(Module m) const;       // linears with bias, and the norms of LayerNorm models
  Shape ModuleShape(Module m) const;  // weight shape: [out, in] or [width]
  bool IsLocal(int depth) const { return !local_layers.empty() && local_layers[depth] != 0; }

  // Throws rondo::Error naming the first field that makes no sense, as a size of zero.
  void Validate() const;

  bool operator==(const ModelConfig&) const = default;
};

}  // namespace rondo
