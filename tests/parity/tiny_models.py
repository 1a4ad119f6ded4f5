"""Tiny random models of every family, written by Hugging Face transformers.

    make_tiny("llama-gqa", "some/directory")      # see VARIANTS for the names
    for name in VARIANTS: ...

Weights are scaled so that every part matters: gains, biases and norms are random too, not the ones
and zeros that transformers initialises, and attention is far from uniform. A variant is fully determined
by its name.
"""

import zlib

import torch
import transformers
from transformers import AutoModelForCausalLM

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()

BASE = dict(vocab_size=96, hidden_size=32, intermediate_size=48, num_hidden_layers=3,
            num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=128)
NEOX = dict(vocab_size=96, hidden_size=32, intermediate_size=64, num_hidden_layers=3,
            num_attention_heads=4, max_position_embeddings=128)
GPT2 = dict(vocab_size=96, n_embd=32, n_layer=3, n_head=4, n_positions=128,
            bos_token_id=1, eos_token_id=2)
LLAMA3_ROPE = dict(rope_type="llama3", rope_theta=500000.0, factor=8.0, low_freq_factor=1.0,
                   high_freq_factor=4.0, original_max_position_embeddings=32)
YARN_ROPE = dict(rope_type="yarn", rope_theta=10000.0, factor=4.0, original_max_position_embeddings=32)
WINDOW = 8  # shorter than the texts of the parity tests


def _with(base, **changes):
    return {**base, **changes}


# name: (config class, arguments, element type, largest shard or None)
VARIANTS = {
    "llama": ("LlamaConfig", _with(BASE, num_key_value_heads=4), "float32", None),
    "llama-gqa": ("LlamaConfig", BASE, "float32", None),
    "llama-mqa-tied": ("LlamaConfig", _with(BASE, num_key_value_heads=1, tie_word_embeddings=True),
                       "float32", None),
    "llama-bf16": ("LlamaConfig", BASE, "bfloat16", None),
    "llama-f16": ("LlamaConfig", BASE, "float16", None),
    "llama-sharded": ("LlamaConfig", BASE, "float32", "20KB"),
    "llama-bias": ("LlamaConfig", _with(BASE, attention_bias=True, mlp_bias=True), "float32", None),
    "llama-head-dim": ("LlamaConfig", _with(BASE, head_dim=12), "float32", None),
    "llama3": ("LlamaConfig", _with(BASE, rope_parameters=LLAMA3_ROPE), "float32", None),
    "llama-linear-rope": ("LlamaConfig", _with(BASE, rope_parameters=dict(
        rope_type="linear", rope_theta=10000.0, factor=2.0)), "float32", None),
    "llama-yarn": ("LlamaConfig", _with(BASE, rope_parameters=YARN_ROPE), "float32", None),
    "llama-eos-list": ("LlamaConfig", _with(BASE, eos_token_id=[2, 5], bos_token_id=None),
                       "float32", None),
    "mistral": ("MistralConfig", _with(BASE, sliding_window=None), "float32", None),
    "mistral-window": ("MistralConfig", _with(BASE, sliding_window=WINDOW), "float32", None),
    "mistral-window-yarn": ("MistralConfig", _with(BASE, sliding_window=WINDOW,
                                                   rope_parameters=YARN_ROPE), "float32", None),
    "gemma": ("GemmaConfig", _with(BASE, head_dim=16), "float32", None),
    "gemma-mqa-bf16": ("GemmaConfig", _with(BASE, head_dim=16, num_key_value_heads=1),
                       "bfloat16", None),
    "gemma3": ("Gemma3TextConfig", _with(BASE, head_dim=16, query_pre_attn_scalar=24,
                                         sliding_window=WINDOW,
                                         layer_types=["sliding_attention", "full_attention",
                                                      "sliding_attention"]), "float32", None),
    "gemma3-softcap": ("Gemma3TextConfig", _with(BASE, head_dim=16, query_pre_attn_scalar=16,
                                                 final_logit_softcapping=5.0, num_hidden_layers=7,
                                                 sliding_window=WINDOW, rope_parameters=dict(
        full_attention=dict(rope_type="linear", factor=4.0, rope_theta=1e6),
        sliding_attention=dict(rope_type="default", rope_theta=1e4))), "float32", None),
    "qwen2": ("Qwen2Config", BASE, "float32", None),
    "qwen2-yarn": ("Qwen2Config", _with(BASE, rope_parameters=YARN_ROPE), "float32", None),
    "qwen2-window": ("Qwen2Config", _with(BASE, use_sliding_window=True, sliding_window=WINDOW,
                                          max_window_layers=1, tie_word_embeddings=True),
                     "float32", None),
    "qwen3": ("Qwen3Config", _with(BASE, head_dim=16), "float32", None),
    "qwen3-bias-window": ("Qwen3Config", _with(BASE, head_dim=8, attention_bias=True,
                                               use_sliding_window=True, sliding_window=WINDOW,
                                               layer_types=["full_attention", "sliding_attention",
                                                            "full_attention"]), "float32", None),
    "neox": ("GPTNeoXConfig", NEOX, "float32", None),
    "neox-serial": ("GPTNeoXConfig", _with(NEOX, use_parallel_residual=False, rope_parameters=dict(
        rope_type="default", rope_theta=10000.0, partial_rotary_factor=1.0)), "float32", None),
    "neox-no-bias-tied": ("GPTNeoXConfig", _with(NEOX, attention_bias=False,
                                                 tie_word_embeddings=True), "float32", None),
    "neox-f16": ("GPTNeoXConfig", NEOX, "float16", None),
    "gpt2": ("GPT2Config", GPT2, "float32", None),
    "gpt2-relu-unscaled": ("GPT2Config", _with(GPT2, activation_function="relu", n_inner=40,
                                               scale_attn_weights=False), "float32", None),
    "gpt2-gelu-untied": ("GPT2Config", _with(GPT2, activation_function="gelu",
                                             tie_word_embeddings=False), "float32", None),
}

# Rotary frequencies that depend on the length of the text: what comes step by step has others than what
# comes at once, in transformers as here.
LENGTH_VARIANTS = {
    "llama-dynamic": ("LlamaConfig", _with(BASE, max_position_embeddings=64, rope_parameters=dict(
        rope_type="dynamic", rope_theta=10000.0, factor=2.0)), "float32", None),
    "llama-longrope": ("LlamaConfig", _with(BASE, rope_parameters=dict(
        rope_type="longrope", rope_theta=10000.0, factor=4.0, original_max_position_embeddings=64,
        short_factor=[1.0, 1.1, 1.3, 1.8], long_factor=[1.5, 2.5, 4.0, 7.0])), "float32", None),
}


def _randomise(model, seed):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.dim() == 1:
                # Gains near their neutral value (0 for Gemma's "1 + weight", else 1), biases near 0.
                neutral = parameter.float().mean().round()
                parameter.copy_(neutral + 0.2 * noise)
            elif "embed" in name or "wte" in name or "wpe" in name:
                parameter.copy_(noise)
            else:
                parameter.copy_(noise * (1.5 / parameter.shape[-1] ** 0.5))


def make_tiny(family_variant, directory):
    """Writes config.json and safetensors of one variant; returns load_reference(directory)."""
    config_class, arguments, dtype, shard = {**VARIANTS, **LENGTH_VARIANTS}[family_variant]
    config = getattr(transformers, config_class)(**arguments)
    config._attn_implementation = "eager"
    model = AutoModelForCausalLM.from_config(config).eval()
    _randomise(model, zlib.crc32(family_variant.encode()))
    model = model.to(getattr(torch, dtype))
    model.config.dtype = getattr(torch, dtype)
    model.save_pretrained(directory, **({"max_shard_size": shard} if shard else {}))
    # Not model.float(): casting to bf16 rounded the rotary frequencies too, loading computes them anew.
    return load_reference(directory)


def make_llama(directory, layers):
    """Writes a random Llama large enough for ranks to matter: square, wide and tall matrices, 64 tokens."""
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=64, hidden_size=96, intermediate_size=160, num_hidden_layers=layers,
        num_attention_heads=6, num_key_value_heads=2, max_position_embeddings=64)
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * (0.2 if parameter.dim() == 1 else 0.08))
    model.save_pretrained(directory)


def load_reference(directory):
    """The model of an HF directory in float32 with plain (eager) attention, eval mode."""
    return AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32,
                                                attn_implementation="eager").eval()
