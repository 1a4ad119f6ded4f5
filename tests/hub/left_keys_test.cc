// Keys of config.json that say nothing, left there by other tools.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "hub/hf_config.h"

namespace rondo {
namespace {

using nlohmann::json;

const char kLlama[] = R"({"model_type": "llama", "vocab_size": 320, "hidden_size": 64,
  "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
  "max_position_embeddings": 512})";

ModelConfig ReadWith(const json& changes) {
  json config = json::parse(kLlama);
  config.update(changes);
  return HfConfigFromJson(config, "f");
}

TEST(LeftKeys, NullIsAsGoodAsAbsentForEveryKey) {
  EXPECT_EQ(ReadWith({{"layer_types", nullptr},
                      {"sliding_window", nullptr},
                      {"rope_scaling", nullptr},
                      {"rope_parameters", nullptr},
                      {"some_future_key", nullptr},
                      {"head_dim", nullptr}}),
            ReadWith(json::object()));
}

TEST(LeftKeys, Llama1ByItsFirstConverter) {
  const char* text = R"({"architectures": ["LLaMAForCausalLM"], "model_type": "llama",
    "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": -1, "hidden_act": "silu",
    "hidden_size": 64, "intermediate_size": 96, "initializer_range": 0.02,
    "max_sequence_length": 1024, "num_attention_heads": 4, "num_hidden_layers": 2,
    "rms_norm_eps": 1e-06, "torch_dtype": "float16", "transformers_version": "4.27.0.dev0",
    "use_cache": true, "vocab_size": 320})";
  const ModelConfig c = HfConfigFromJson(json::parse(text), "f");
  EXPECT_EQ(c.max_positions, 1024);
  EXPECT_EQ(c.bos_token, 0);
}

TEST(LeftKeys, WhatConcernsTrainingAndImplementations) {
  EXPECT_EQ(ReadWith({{"pretraining_tp", 4},
                      {"resid_pdrop", 0.1},
                      {"_attn_implementation", "sdpa"},
                      {"tokenizer_model_max_length", 2048}}),
            ReadWith(json::object()));
}

TEST(LeftKeys, ASwitchedOffWindowInAFamilyWithoutWindows) {
  EXPECT_EQ(ReadWith({{"use_sliding_window", false},
                      {"sliding_window", 4096},
                      {"max_window_layers", 28},
                      {"layer_types", {"full_attention", "full_attention"}}}),
            ReadWith(json::object()));
}

}  // namespace
}  // namespace rondo
