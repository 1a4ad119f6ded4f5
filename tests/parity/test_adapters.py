"""LoRA adapters merged by rondo, against PEFT's own merge."""

import json

import numpy as np
import peft
import pytest
import torch
from test_engine import our_logits, reference_logits, tolerance
from tiny_models import load_reference, make_tiny

FULL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
CASES = {
    "lora": ("llama-gqa", dict(target_modules=["q_proj", "v_proj"])),
    "all-rslora": ("qwen3", dict(target_modules=FULL, use_rslora=True)),
    "patterns": ("llama-bias", dict(target_modules=FULL, rank_pattern={"q_proj": 2},
                                    alpha_pattern={"layers.1.mlp.up_proj": 24})),
    "dora": ("llama-gqa", dict(target_modules=["q_proj", "down_proj"], use_dora=True)),
    "head-and-embedding": ("llama-gqa", dict(target_modules=["q_proj"],
                                             modules_to_save=["lm_head", "embed_tokens"])),
    "embedding-factors": ("llama-gqa", dict(target_modules=["q_proj", "embed_tokens", "lm_head"])),
    "biases": ("llama-bias", dict(target_modules=["q_proj"], bias="all")),
    "gpt2": ("gpt2", dict(target_modules=["c_attn", "c_fc"], fan_in_fan_out=True)),
    "neox": ("neox", dict(target_modules=["query_key_value", "dense_4h_to_h"])),
    "gemma3": ("gemma3", dict(target_modules=FULL)),
}


def make_adapter(variant, settings, folder):
    """Writes base/ and adapter/; returns PEFT's merged model."""
    torch.manual_seed(3)
    make_tiny(variant, folder / "base")
    model = peft.get_peft_model(load_reference(folder / "base"), peft.LoraConfig(
        r=4, lora_alpha=8, task_type="CAUSAL_LM", **settings))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.3 * torch.randn_like(parameter))
    model.save_pretrained(folder / "adapter")
    loaded = peft.PeftModel.from_pretrained(load_reference(folder / "base"), folder / "adapter")
    return loaded.merge_and_unload().eval()


@pytest.mark.parametrize("case", CASES)
def test_merged_weights_compute_what_peft_merged(rondo, case, tmp_path):
    variant, settings = CASES[case]
    merged = make_adapter(variant, settings, tmp_path)
    rondo.json("export", tmp_path / "base", "--adapter", tmp_path / "adapter", "--format", "native",
               "--out", tmp_path / "merged")
    ids = np.random.default_rng(1).integers(0, merged.config.vocab_size, 40).tolist()
    expected = reference_logits(merged, ids)
    limit = tolerance(expected, 64, merged.config.num_hidden_layers)
    np.testing.assert_allclose(our_logits(tmp_path / "merged", ids), expected, rtol=0, atol=limit)
    base = reference_logits(load_reference(tmp_path / "base"), ids)
    assert np.abs(base - expected).max() > 100 * limit


@pytest.mark.parametrize("command", ["inspect", "generate", "fold"])
def test_an_adapter_is_no_model(rondo, command, tmp_path):
    make_adapter("llama-gqa", CASES["lora"][1], tmp_path)
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    more = {"inspect": [], "generate": ["--prompt", "x"], "fold": ["--out", tmp_path / "out"]}[command]
    result = rondo.run(command, tmp_path / "adapter", *more, check=False)
    assert result.returncode != 0
    assert "an adapter" in result.stderr and config["base_model_name_or_path"] in result.stderr
    assert "--adapter" in result.stderr
