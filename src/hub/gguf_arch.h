// What llama.cpp's architectures are, as data: the reader and the writer of GGUF models share it.
#pragma once

#include <string>
#include <string_view>

#include "rondo/model_config.h"
#include "rondo/module.h"

namespace rondo {

struct GgufArch {
  std::string_view name;    // general.architecture, and prefix of the metadata keys
  std::string_view family;  // ModelConfig::family
  NormKind norm;
  PositionKind positions;
  Activation activation;  // GGUF does not store it; that of the published models
  bool gated_ffn;
  bool qk_norm;
  bool post_norms;
  bool fused_qkv;         // attn_qkv holds the rows of q, k and v one after the other
  bool interleaved_rope;  // rows of q and k pair element 2i with 2i+1 inside a head
  bool scaled_embedding;  // embedding times sqrt(d_model)
};

// Throws naming `file` and the architectures that are known.
const GgufArch& GgufArchOf(const std::string& name, const std::string& file);
// The architecture in which a family is written; throws for an unknown family.
const GgufArch& GgufArchOfFamily(const std::string& family);

// "blk.3.attn_q.weight"
std::string GgufTensorName(int depth, Module module, std::string_view part = "weight");
std::string GgufFusedQkvName(int depth, std::string_view part = "weight");

inline constexpr std::string_view kGgufEmbedding = "token_embd.weight";
inline constexpr std::string_view kGgufPositions = "position_embd.weight";
inline constexpr std::string_view kGgufFinalNorm = "output_norm.weight";
inline constexpr std::string_view kGgufFinalNormBias = "output_norm.bias";
inline constexpr std::string_view kGgufHead = "output.weight";
inline constexpr std::string_view kGgufHeadBias = "output.bias";
inline constexpr std::string_view kGgufRopeFactors = "rope_freqs.weight";
inline constexpr std::string_view kGgufShortFactors = "rope_factors_short.weight";  // LongRoPE
inline constexpr std::string_view kGgufLongFactors = "rope_factors_long.weight";

// llama.cpp gives every sixth layer of Gemma 3 full attention unless the file says otherwise.
inline constexpr int kGemma3GlobalEvery = 6;
inline constexpr float kGemma3LocalTheta = 10000;

// The factor on q·k that llama.cpp applies; it is not stored in GGUF (Gemma 3 27B, known by its 62
// layers, is the only exception to 1/sqrt(head_dim)).
float GgufAttentionScale(const GgufArch& arch, const ModelConfig& config);

}  // namespace rondo
