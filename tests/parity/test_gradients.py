"""All gradients of a training step beside torch autograd through transformers and PEFT.

The folded student is an independent model: a Llama whose tied layers hold the same Parameter objects and
whose every layer has a LoRA of its own from PEFT. The teacher is the unfolded Llama.

Tolerance. Both programs compute in f32; a gradient is a sum of `tokens` products of numbers that each went
through about 10 roundings a layer, forwards and backwards, so its relative error is near
eps·sqrt(width · 20 · layers), taken relative to the largest gradient of the tensor; factor 16 covers
amplification and the largest of thousands of errors.
"""

import json
import math
import subprocess

import numpy as np
import pytest
import torch
from conftest import BUILD
from peft import LoraConfig, get_peft_model
from safetensors.numpy import load_file
from tiny_models import load_reference, make_llama, make_tiny
from torch.nn import functional

LINEARS = {"q": "self_attn.q_proj", "k": "self_attn.k_proj", "v": "self_attn.v_proj",
           "o": "self_attn.o_proj", "gate": "mlp.gate_proj", "up": "mlp.up_proj",
           "down": "mlp.down_proj"}
LAYERS, RANK, ROWS, LENGTH, VOCAB = 6, 4, 3, 20, 64
EPSILON = 2.0 ** -24
DIVERGENCES = ["forward", "reverse", "js", "tv"]


def our_gradients(model, teacher, ids, out, ce, kd, divergence=0, temperature=1.0):
    tool = BUILD / "bin" / "rondo_gradients"
    assert tool.exists(), f"{tool} is missing: run `make build` with torch in .venv"
    command = [tool, model, teacher, out, len(ids), ce, kd, divergence, temperature]
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300,
                            input=" ".join(str(i) for i in np.ravel(ids)))
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout), load_file(out)


def divergence_loss(kind, student, teacher, temperature):
    """By the definitions of Bae et al. 2025, mean over positions, times the temperature squared."""
    log_s = functional.log_softmax(student / temperature, -1)
    log_t = functional.log_softmax(teacher / temperature, -1)
    s, t = log_s.exp(), log_t.exp()
    if kind == "forward":
        value = (t * (log_t - log_s)).sum(-1)
    elif kind == "reverse":
        value = (s * (log_s - log_t)).sum(-1)
    elif kind == "js":
        mixed = 0.5 * (s + t)
        value = 0.5 * (t * (log_t - mixed.log())).sum(-1) + 0.5 * (s * (log_s - mixed.log())).sum(-1)
    else:
        value = 0.5 * (s - t).abs().sum(-1)
    return value.mean() * temperature ** 2


def assert_close(name, ours, theirs, layers=LAYERS, width=160):
    limit = 16 * EPSILON * math.sqrt(width * 20 * layers) * np.abs(theirs).max()
    assert ours.shape == theirs.shape, name
    assert np.abs(ours - theirs).max() <= limit, name


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    directory = tmp_path_factory.mktemp("llama")
    make_llama(directory, LAYERS)
    return directory


@pytest.fixture(scope="module")
def ids():
    return np.random.default_rng(2).integers(0, VOCAB, (ROWS, LENGTH + 1)).tolist()


class PeftStudent:
    """The folded model as transformers and PEFT compute it, from the files that rondo wrote."""

    def __init__(self, llama, folded):
        self.tensors = load_file(folded / "model.safetensors")
        self.plan = json.loads((folded / "config.json").read_text())["rondo"]["modules"]
        model = load_reference(llama)
        self.shared = {}
        for depth, layer in enumerate(model.model.layers):
            for module, path in LINEARS.items():
                block = self.plan[module]["blocks"][depth]
                name = f"blocks.{block}.{module}.weight"
                if name not in self.shared:
                    self.shared[name] = torch.nn.Parameter(torch.tensor(self.tensors[name]))
                layer.get_submodule(path).weight = self.shared[name]
            for module, norm in (("attn_norm", layer.input_layernorm),
                                 ("ffn_norm", layer.post_attention_layernorm)):
                name = f"blocks.{self.plan[module]['blocks'][depth]}.{module}.weight"
                self.shared.setdefault(name, torch.nn.Parameter(torch.tensor(self.tensors[name])))
                norm.weight = self.shared[name]
        self.model = get_peft_model(model, LoraConfig(
            r=RANK, lora_alpha=RANK, lora_dropout=0.0, target_modules=list(
                path.split(".")[1] for path in LINEARS.values())))
        base = self.model.base_model.model
        self.named = {"embed.weight": base.model.embed_tokens.weight,
                      "final_norm.weight": base.model.norm.weight,
                      "head.weight": base.lm_head.weight, **self.shared}
        for depth, layer in enumerate(base.model.layers):
            for module, path in LINEARS.items():
                linear = layer.get_submodule(path)
                for part, holder in (("a", linear.lora_A), ("b", linear.lora_B)):
                    name = f"residual.{depth}.{module}.{part}"
                    weight = holder["default"].weight
                    weight.data = torch.tensor(self.tensors[name])
                    self.named[name] = weight
        for parameter in self.model.parameters():
            parameter.requires_grad_(True)

    def logits(self, ids):
        return self.model(torch.tensor(ids)[:, :-1]).logits


@pytest.fixture(scope="module")
def folded(rondo, llama, tmp_path_factory):
    out = tmp_path_factory.mktemp("fold") / "folded"
    rondo.json("fold", llama, "--out", out, "--loops", "2", "--rank", str(RANK), "--norms", "tied")
    return out


@pytest.mark.parametrize("kind", DIVERGENCES)
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_every_gradient_equals_peft(llama, folded, ids, tmp_path, kind, temperature):
    values, ours = our_gradients(folded, llama, ids, tmp_path / "gradients.safetensors", 0.4, 0.6,
                                 DIVERGENCES.index(kind), temperature)
    student = PeftStudent(llama, folded)
    with torch.no_grad():
        taught = load_reference(llama)(torch.tensor(ids)[:, :-1]).logits
    logits = student.logits(ids)
    ce = functional.cross_entropy(logits.flatten(0, 1), torch.tensor(ids)[:, 1:].flatten())
    kd = divergence_loss(kind, logits, taught, temperature)
    (0.4 * ce + 0.6 * kd).backward()
    assert values["ce"] == pytest.approx(ce.item(), rel=1e-5)
    assert values["kd"] == pytest.approx(kd.item(), rel=1e-4)
    assert set(ours) == set(student.named)
    for name, parameter in student.named.items():
        assert_close(name, ours[name], parameter.grad.numpy())


def hf_gradients(model):
    """{our name: gradient} of linears and norms of layers, for families with separate projections."""
    out = {}
    for depth, layer in enumerate(model.model.layers):
        for module, path in LINEARS.items():
            out[f"blocks.{depth}.{module}.weight"] = layer.get_submodule(path).weight.grad.numpy()
    out["embed.weight"] = model.model.embed_tokens.weight.grad.numpy()
    return out


@pytest.mark.parametrize("variant", ["llama-gqa", "llama-mqa-tied", "llama3", "mistral-window",
                                     "gemma3-softcap", "qwen2", "qwen3-bias-window"])
def test_family(variant, tmp_path):
    """Unfolded models of other families: windows, soft caps, norms on heads, tied embeddings."""
    model = make_tiny(variant, tmp_path / "model")
    # Not id 0: where it is the padding, transformers gives its embedding no gradient.
    ids = np.random.default_rng(3).integers(1, model.config.vocab_size, (2, 41)).tolist()
    values, ours = our_gradients(tmp_path / "model", "-", ids, tmp_path / "g.safetensors", 1, 0)
    logits = model(torch.tensor(ids)[:, :-1]).logits
    ce = functional.cross_entropy(logits.flatten(0, 1), torch.tensor(ids)[:, 1:].flatten())
    ce.backward()
    assert values["ce"] == pytest.approx(ce.item(), rel=1e-5)
    for name, gradient in hf_gradients(model).items():
        assert_close(name, ours[name], gradient, model.config.num_hidden_layers)
