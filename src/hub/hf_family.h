// What Hugging Face calls things in each model family: one row of facts per family, used both to
// read and to write its config.json and tensors. Sources: the configuration and modelling files of
// transformers 5.23 and the published checkpoints of each family.
#pragma once

#include <array>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "rondo/model_config.h"

namespace rondo {

// A key that is understood only when it is null or has one value.
struct HfFixedKey {
  std::string_view key;
  std::string_view value;  // as JSON text
};

// Names of config.json keys; empty: the family has no such key.
struct HfKeys {
  std::string_view layers = "num_hidden_layers";
  std::string_view d_model = "hidden_size";
  std::string_view d_ff = "intermediate_size";
  std::string_view heads = "num_attention_heads";
  std::string_view kv_heads = "num_key_value_heads";
  std::string_view head_dim = "head_dim";
  std::string_view max_positions = "max_position_embeddings";
  std::string_view norm_eps = "rms_norm_eps";
  std::string_view activation = "hidden_act";
  std::string_view attention_bias = {};  // biases of q, k, v and o
  std::string_view mlp_bias = {};        // biases of gate, up and down
  std::string_view parallel_residual = {};
  std::string_view logit_softcap = {};
  std::string_view query_scalar = {};     // s: attention is scaled by 1/sqrt(s), not of head_dim
  std::string_view scale_attention = {};  // false: attention is not scaled
};

enum class HfRope {
  kNone,     // learned positions
  kOne,      // rope_theta and rope_scaling
  kPartial,  // rotary_emb_base and rotary_pct (GPT-NeoX)
  kTwo,      // a second theta for local layers (Gemma 3)
};

enum class HfWindow {
  kNone,
  kAllLayers,   // sliding_window: every layer is local (Mistral)
  kAfterLayer,  // use_sliding_window and max_window_layers, or layer_types (Qwen)
  kPattern,     // sliding_window_pattern, or layer_types (Gemma 3)
};

// How q, k and v are stored.
enum class HfQkv {
  kSeparate,
  kInterleaved,  // one matrix, rows [head][q, k, v][head_dim] (GPT-NeoX)
  kStacked,      // one matrix, rows [q, k, v][d_model] (GPT-2)
};

struct HfTensorNames {
  std::string_view prefix = "model.";  // of everything but the head; may be missing in a file
  std::string_view embed = "embed_tokens";
  std::string_view positions = {};
  std::string_view final_norm = "norm";
  std::string_view head = "lm_head";
  std::string_view layers = "layers";
  std::array<std::string_view, kModuleCount> modules;  // by Module; empty: not in this family
  HfQkv qkv = HfQkv::kSeparate;
  std::string_view fused = {};            // name of the fused matrix
  bool transposed = false;                // linears are stored [in, out] (GPT-2's Conv1D)
  float gain_offset = 0;                  // stored norm weight + offset = gain (Gemma: 1)
  std::vector<std::string_view> buffers;  // endings of names that are no weights
};

struct HfFamily {
  ModelConfig defaults;  // facts of the family, and the values of keys that config.json leaves out
  std::string_view architecture;
  HfKeys keys;
  int ffn_multiple = 0;  // d_ff in d_models when config.json leaves it out; 0: it must be there
  HfRope rope = HfRope::kOne;
  HfWindow window = HfWindow::kNone;
  bool scaled_embedding = false;                     // embedding * sqrt(d_model)
  std::string_view tanh_gelu = "gelu_pytorch_tanh";  // how the family's files spell it
  bool gelu_is_tanh = false;  // "gelu" in old files means the tanh form (Gemma)
  std::vector<HfFixedKey> fixed_keys;
  std::vector<std::string_view> ignored_keys;
  HfTensorNames tensors;
};

// Throws naming the nearest family for an unknown model_type.
const HfFamily& FindHfFamily(std::string_view model_type, const std::string& file);

// Keys of any family without effect on what a decoder computes, and keys that must have one value.
std::span<const std::string_view> HfIgnoredKeys();
std::span<const HfFixedKey> HfFixedKeys();

}  // namespace rondo
