#include "hub/hf_family.h"

#include "base/strings.h"
#include "rondo/error.h"

namespace rondo {
namespace {

using ModuleNames = std::array<std::string_view, kModuleCount>;

// Linears q k v o gate up down, and the norms before attention and feed-forward.
constexpr ModuleNames Names(const std::array<std::string_view, 7>& linears,
                            std::string_view attn_norm, std::string_view ffn_norm) {
  ModuleNames names;
  for (size_t i = 0; i < linears.size(); ++i) names[i] = linears[i];
  names[static_cast<size_t>(Module::kAttnNorm)] = attn_norm;
  names[static_cast<size_t>(Module::kFfnNorm)] = ffn_norm;
  return names;
}

constexpr ModuleNames kLlamaModules =
    Names({"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
           "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"},
          "input_layernorm", "post_attention_layernorm");

constexpr ModuleNames kQwen3Modules = [] {
  ModuleNames names = kLlamaModules;
  names[static_cast<size_t>(Module::kQNorm)] = "self_attn.q_norm";
  names[static_cast<size_t>(Module::kKNorm)] = "self_attn.k_norm";
  return names;
}();

constexpr ModuleNames kGemma3Modules = [] {
  ModuleNames names = kQwen3Modules;
  names[static_cast<size_t>(Module::kFfnNorm)] = "pre_feedforward_layernorm";
  names[static_cast<size_t>(Module::kPostAttnNorm)] = "post_attention_layernorm";
  names[static_cast<size_t>(Module::kPostFfnNorm)] = "post_feedforward_layernorm";
  return names;
}();

constexpr ModuleNames kNeoxModules =
    Names({"", "", "", "attention.dense", "", "mlp.dense_h_to_4h", "mlp.dense_4h_to_h"},
          "input_layernorm", "post_attention_layernorm");

constexpr ModuleNames kGpt2Modules =
    Names({"", "", "", "attn.c_proj", "", "mlp.c_fc", "mlp.c_proj"}, "ln_1", "ln_2");

constexpr std::string_view kRotaryBuffer = "rotary_emb.inv_freq";

HfFamily Llama() {
  return {.defaults = {.family = "llama",
                       .max_positions = 2048,
                       .norm_eps = 1e-6f,
                       .bos_token = 1,
                       .eos_tokens = {2}},
          .architecture = "LlamaForCausalLM",
          .keys = {.attention_bias = "attention_bias", .mlp_bias = "mlp_bias"},
          .fixed_keys = {{"rope_interleaved", "false"}},
          // pretraining_tp changes the order of sums, not the function.
          .ignored_keys = {"is_llama_config", "pretraining_tp"},
          .tensors = {.modules = kLlamaModules, .buffers = {kRotaryBuffer}}};
}

HfFamily Mistral() {
  return {.defaults = {.family = "mistral",
                       .kv_heads = 8,
                       .max_positions = 131072,
                       .norm_eps = 1e-6f,
                       .sliding_window = 4096,
                       .bos_token = 1,
                       .eos_tokens = {2}},
          .architecture = "MistralForCausalLM",
          .window = HfWindow::kAllLayers,
          .tensors = {.modules = kLlamaModules, .buffers = {kRotaryBuffer}}};
}

HfFamily Gemma() {
  return {.defaults = {.family = "gemma",
                       .kv_heads = 16,
                       .head_dim = 256,
                       .max_positions = 8192,
                       .norm_eps = 1e-6f,
                       .activation = Activation::kGeluTanh,
                       .tied_embeddings = true,
                       .bos_token = 2,
                       .eos_tokens = {1}},
          .architecture = "GemmaForCausalLM",
          .keys = {.attention_bias = "attention_bias"},
          .scaled_embedding = true,
          .gelu_is_tanh = true,
          .fixed_keys = {{"hidden_activation", "\"gelu_pytorch_tanh\""},
                         {"use_bidirectional_attention", "false"}},
          .tensors = {.modules = kLlamaModules, .gain_offset = 1, .buffers = {kRotaryBuffer}}};
}

HfFamily Gemma3() {
  return {
      .defaults = {.family = "gemma3_text",
                   .kv_heads = 4,
                   .head_dim = 256,
                   .max_positions = 131072,
                   .norm_eps = 1e-6f,
                   .qk_norm = true,
                   .post_norms = true,
                   .rope_theta = 1e6f,
                   .rope_local_theta = 1e4f,
                   .activation = Activation::kGeluTanh,
                   .attn_scale = 0.0625f,  // query_pre_attn_scalar 256
                   .sliding_window = 4096,
                   .tied_embeddings = true,
                   .bos_token = 2,
                   .eos_tokens = {1}},
      .architecture = "Gemma3ForCausalLM",
      .keys = {.activation = "hidden_activation",
               .attention_bias = "attention_bias",
               .logit_softcap = "final_logit_softcapping",
               .query_scalar = "query_pre_attn_scalar"},
      .rope = HfRope::kTwo,
      .window = HfWindow::kPattern,
      .scaled_embedding = true,
      // transformers reads attn_logit_softcapping and does not apply it.
      .fixed_keys = {{"attn_logit_softcapping", "null"}, {"use_bidirectional_attention", "false"}},
      .ignored_keys = {"_sliding_window_pattern", "cache_implementation"},
      .tensors = {.modules = kGemma3Modules, .gain_offset = 1, .buffers = {kRotaryBuffer}}};
}

HfFamily Qwen2() {
  return {.defaults = {.family = "qwen2",
                       .kv_heads = 32,
                       .max_positions = 32768,
                       .norm_eps = 1e-6f,
                       .sliding_window = 4096,
                       .qkv_bias = true},
          .architecture = "Qwen2ForCausalLM",
          .window = HfWindow::kAfterLayer,
          .fixed_keys = {{"use_mrope", "false"}},
          .tensors = {.modules = kLlamaModules, .buffers = {kRotaryBuffer}}};
}

HfFamily Qwen3() {
  return {.defaults = {.family = "qwen3",
                       .kv_heads = 32,
                       .head_dim = 128,
                       .max_positions = 32768,
                       .norm_eps = 1e-6f,
                       .qk_norm = true,
                       .sliding_window = 4096},
          .architecture = "Qwen3ForCausalLM",
          .keys = {.attention_bias = "attention_bias"},
          .window = HfWindow::kAfterLayer,
          .tensors = {.modules = kQwen3Modules, .buffers = {kRotaryBuffer}}};
}

HfFamily GptNeox() {
  return {.defaults = {.family = "gpt_neox",
                       .max_positions = 2048,
                       .norm = NormKind::kLayer,
                       .norm_eps = 1e-5f,
                       .parallel_residual = true,
                       .activation = Activation::kGelu,
                       .gated_ffn = false,
                       .qkv_bias = true,
                       .o_bias = true,
                       .ffn_bias = true,
                       .bos_token = 0,
                       .eos_tokens = {2}},
          .architecture = "GPTNeoXForCausalLM",
          .keys = {.kv_heads = {},
                   .head_dim = {},
                   .norm_eps = "layer_norm_eps",
                   .attention_bias = "attention_bias",
                   .parallel_residual = "use_parallel_residual"},
          .rope = HfRope::kPartial,
          .ignored_keys = {"hidden_dropout", "classifier_dropout"},
          .tensors = {.prefix = "gpt_neox.",
                      .embed = "embed_in",
                      .final_norm = "final_layer_norm",
                      .head = "embed_out",
                      .modules = kNeoxModules,
                      .qkv = HfQkv::kInterleaved,
                      .fused = "attention.query_key_value",
                      .buffers = {kRotaryBuffer, "attention.bias", "attention.masked_bias"}}};
}

HfFamily Gpt2() {
  return {.defaults = {.family = "gpt2",
                       .max_positions = 1024,
                       .norm = NormKind::kLayer,
                       .norm_eps = 1e-5f,
                       .positions = PositionKind::kLearned,
                       .activation = Activation::kGeluTanh,
                       .gated_ffn = false,
                       .qkv_bias = true,
                       .o_bias = true,
                       .ffn_bias = true,
                       .tied_embeddings = true,
                       .bos_token = 50256,
                       .eos_tokens = {50256}},
          .architecture = "GPT2LMHeadModel",
          .keys = {.layers = "n_layer",
                   .d_model = "n_embd",
                   .d_ff = "n_inner",
                   .heads = "n_head",
                   .kv_heads = {},
                   .head_dim = {},
                   .max_positions = "n_positions",
                   .norm_eps = "layer_norm_epsilon",
                   .activation = "activation_function",
                   .scale_attention = "scale_attn_weights"},
          .ffn_multiple = 4,
          .rope = HfRope::kNone,
          .tanh_gelu = "gelu_new",
          .fixed_keys = {{"scale_attn_by_inverse_layer_idx", "false"}},
          // reorder_and_upcast_attn changes rounding in half precision, not the function.
          .ignored_keys = {"n_ctx", "n_special", "predict_special_tokens", "attn_pdrop",
                           "embd_pdrop", "resid_pdrop", "summary_activation",
                           "summary_first_dropout", "summary_proj_to_labels", "summary_type",
                           "summary_use_proj", "reorder_and_upcast_attn"},
          .tensors = {.prefix = "transformer.",
                      .embed = "wte",
                      .positions = "wpe",
                      .final_norm = "ln_f",
                      .layers = "h",
                      .modules = kGpt2Modules,
                      .qkv = HfQkv::kStacked,
                      .fused = "attn.c_attn",
                      .transposed = true,
                      .buffers = {"attn.bias", "attn.masked_bias"}}};
}

const std::vector<HfFamily>& Families() {
  static const std::vector<HfFamily> families = {Llama(), Mistral(), Gemma(),   Gemma3(),
                                                 Qwen2(), Qwen3(),   GptNeox(), Gpt2()};
  return families;
}

constexpr std::string_view kIgnoredKeys[] = {
    // bookkeeping
    "_name_or_path", "architectures", "auto_map", "dtype", "finetuning_task", "id2label",
    "label2id", "model_type", "num_labels", "prefix", "problem_type", "sep_token_id",
    "pad_token_id", "decoder_start_token_id", "task_specific_params", "tokenizer_class",
    "torch_dtype", "torchscript", "transformers.js_config", "transformers_version", "unsloth_fixed",
    "unsloth_version", "use_bfloat16", "tf_legacy_loss", "tie_last_hidden_states", "_commit_hash",
    "_from_model_config", "model_max_length", "tokenizer_model_max_length",
    "tokenizer_padding_side", "unk_token_id", "mask_token_id", "cls_token_id", "bos_token",
    "eos_token", "pad_token", "unk_token", "trust_remote_code", "license",
    // training
    "attention_dropout", "gradient_checkpointing", "initializer_range", "attn_pdrop", "embd_pdrop",
    "resid_pdrop", "embedding_dropout", "hidden_dropout", "residual_dropout", "activation_dropout",
    "dropout", "layerdrop", "neftune_noise_alpha",
    // how transformers runs a model, not what it computes
    "_attn_implementation", "_attn_implementation_internal", "_flash_attn_2_enabled",
    "_use_flash_attention_2", "use_flash_attention", "use_flash_attn",
    "_attn_implementation_autoset", "attn_implementation", "output_attentions",
    "output_hidden_states", "return_dict", "return_dict_in_generate", "use_cache", "is_decoder",
    // defaults of generation
    "bad_words_ids", "begin_suppress_tokens", "cache_implementation", "diversity_penalty",
    "do_sample", "early_stopping", "encoder_no_repeat_ngram_size",
    "exponential_decay_length_penalty", "forced_bos_token_id", "forced_eos_token_id",
    "length_penalty", "max_length", "min_length", "no_repeat_ngram_size", "num_beam_groups",
    "num_beams", "num_return_sequences", "output_scores", "remove_invalid_values",
    "repetition_penalty", "suppress_tokens", "temperature", "top_k", "top_p", "typical_p"};

constexpr HfFixedKey kFixedKeys[] = {{"add_cross_attention", "false"},
                                     {"chunk_size_feed_forward", "0"},
                                     {"cross_attention_hidden_size", "null"},
                                     {"is_encoder_decoder", "false"},
                                     {"per_layer_config", "null"},
                                     {"pruned_heads", "{}"},
                                     {"quantization_config", "null"},
                                     {"tie_encoder_decoder", "false"}};

}  // namespace

const HfFamily& FindHfFamily(std::string_view model_type, const std::string& file) {
  std::vector<std::string> names;
  for (const HfFamily& family : Families()) {
    if (family.defaults.family == model_type) return family;
    names.push_back(family.defaults.family);
  }
  throw Error({.function = "FindHfFamily",
               .problem = "unknown model family '" + std::string(model_type) + "'",
               .expected = "one of " + Join(names, ", "),
               .file = file,
               .field = "model_type"});
}

std::span<const std::string_view> HfIgnoredKeys() { return kIgnoredKeys; }
std::span<const HfFixedKey> HfFixedKeys() { return kFixedKeys; }

}  // namespace rondo
