"""Folding against numpy (reference SVD), PEFT (the same residuals in its adapters) and the published sizes."""

import itertools
import json
import math
import resource

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from tiny_models import load_reference, make_llama, make_tiny

LINEARS = {"q": "self_attn.q_proj", "k": "self_attn.k_proj", "v": "self_attn.v_proj",
           "o": "self_attn.o_proj", "gate": "mlp.gate_proj", "up": "mlp.up_proj",
           "down": "mlp.down_proj"}
LAYERS = 6
EPS = np.finfo(np.float32).eps


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    directory = tmp_path_factory.mktemp("llama")
    make_llama(directory, LAYERS)
    return directory


class Fold:
    """The files of a folded model, read without rondo."""

    def __init__(self, directory):
        self.plan = json.loads((directory / "config.json").read_text())["rondo"]
        self.tensors = load_file(directory / "model.safetensors")

    def shared(self, depth, module):
        block = self.plan["modules"][module]["blocks"][depth]
        return self.tensors[f"blocks.{block}.{module}.weight"].astype(np.float64)

    def part(self, depth, module, part):
        return self.tensors[f"residual.{depth}.{module}.{part}"].astype(np.float64)

    def merged(self, depth, module):
        """The matrix that shared tensor and residual stand for, by the definitions of the kinds."""
        shared = self.shared(depth, module)
        kind = self.plan["modules"][module]["residual"]
        if kind == "muldiag":
            return shared * self.part(depth, module, "scale")
        a, b = self.part(depth, module, "a"), self.part(depth, module, "b")
        if kind == "kronecker":
            return shared + sum(np.kron(x, y) for x, y in zip(a, b))
        merged = shared + b @ a
        if kind == "lora-diag":
            np.fill_diagonal(merged, merged.diagonal() + self.part(depth, module, "diag"))
        if kind == "dora":
            merged *= (self.part(depth, module, "magnitude") / np.linalg.norm(merged, axis=1))[:, None]
        return merged


def fold(rondo, model, out, *arguments):
    rondo.json("fold", model, "--out", out, *arguments)
    return Fold(out)


def original(directory):
    """{(depth, module): matrix} of an HF Llama directory, float64."""
    state = load_file(directory / "model.safetensors")
    return {(d, m): state[f"model.layers.{d}.{name}.weight"].astype(np.float64)
            for d, (m, name) in itertools.product(range(LAYERS), LINEARS.items())}


def logits(model):
    tokens = torch.arange(48)[None] * 7 % 64
    with torch.no_grad():
        return model(tokens).logits


def expect_equal_logits(got, want, width, layers):
    # f32 sums over `width` terms carry about eps·sqrt(width); layers add up like a random walk, and a
    # residual's terms may be ten times larger than their sum (as in test_main_job).
    tolerance = 10 * EPS * math.sqrt(width * 4 * layers) * want.abs().max().item()
    assert (got - want).abs().max().item() < tolerance


# --- published sizes -------------------------------------------------------------------------------

PUBLISHED = [  # Bae et al. 2025: non-embedding parameters in units of 10 million, for these ranks
    ("gemma-2b", 1, [198, None, None, None, None]),
    ("gemma-2b", 2, [99, 107, 115, 130, 160]),
    ("gemma-2b", 3, [66, 74, 82, 97, 127]),
    ("tinyllama-1.1b", 1, [97, None, None, None, None]),
    ("tinyllama-1.1b", 2, [48, 53, 58, 68, 86]),
    ("pythia-1b", 1, [81, None, None, None, None]),
    ("pythia-1b", 2, [40, 44, 48, 55, 70]),
]
RANKS = [0, 64, 128, 256, 512]


@pytest.mark.parametrize("name,loops,sizes", PUBLISHED)
def test_published_sizes_from_the_configuration_alone(rondo, name, loops, sizes):
    from conftest import DATA
    for rank, size in zip(RANKS, sizes):
        if size is None:
            continue
        got = rondo.json("inspect", DATA / "configs" / name, "--loops", loops, "--rank", rank,
                         "--norms", "tied", "--tie-biases")
        # The paper adds rounded parts: TinyLlama at rank 256 is 0.48 + 0.20 = 0.68, not 0.6863 = 0.69.
        parts = (got["parameters_shared"], got["parameters_residual"])
        assert sum(round(p / 1e7) for p in parts) == size, (name, loops, rank, parts)


# --- residuals -------------------------------------------------------------------------------------

@pytest.mark.parametrize("order,init,rank", [("cycle", "average", 5), ("cycle", "stepwise", 33),
                                             ("sequence", "lower", 1), ("middle-cycle", "random", 16)])
def test_svd_error_is_the_optimum(rondo, llama, tmp_path, order, init, rank):
    folded = fold(rondo, llama, tmp_path / "fold", "--order", order, "--init", init, "--rank", rank)
    checked = 0
    for (depth, module), weight in original(llama).items():
        if f"residual.{depth}.{module}.a" not in folded.tensors:
            continue
        difference = weight - folded.shared(depth, module)
        left_out = np.linalg.svd(difference, compute_uv=False)[min(rank, *weight.shape):]
        optimum = np.sqrt((left_out ** 2).sum())
        error = np.linalg.norm(weight - folded.merged(depth, module))
        # Where a stepwise block is the layer itself there is nothing to fit.
        rounding = EPS * np.linalg.norm(weight)
        assert error <= optimum * (1 + 1e-5) + rounding, (depth, module)
        assert error >= optimum * (1 - 1e-5) - rounding, (depth, module)
        checked += 1
    assert checked == 7 * (LAYERS - 2 if order == "middle-cycle" else LAYERS)


def test_factors_are_u_sigma_and_v(rondo, llama, tmp_path):
    folded = fold(rondo, llama, tmp_path / "fold", "--rank", 8)
    for (depth, module), weight in itertools.islice(original(llama).items(), 7):
        _, sigma, vt = np.linalg.svd(weight - folded.shared(depth, module), full_matrices=False)
        a, b = folded.part(depth, module, "a"), folded.part(depth, module, "b")
        # Rows of a are stored in f32: products of two are off by eps·sqrt(width) at most.
        np.testing.assert_allclose(a @ a.T, np.eye(8), atol=EPS * math.sqrt(weight.shape[1]))
        np.testing.assert_allclose(np.linalg.norm(b, axis=0), sigma[:8], rtol=1e-5)
        # Same directions up to sign; neighbouring singular values may mix by eps / their distance.
        overlap = np.abs((a * vt[:8]).sum(axis=1))
        np.testing.assert_allclose(overlap, 1, atol=1e-5)


def rearranged(matrix, out_a, in_a):
    out_b, in_b = matrix.shape[0] // out_a, matrix.shape[1] // in_a
    return matrix.reshape(out_a, out_b, in_a, in_b).transpose(0, 2, 1, 3).reshape(out_a * in_a, -1)


@pytest.mark.parametrize("rank", [1, 3])
def test_kronecker_error_is_the_optimum_of_the_rearranged_matrix(rondo, llama, tmp_path, rank):
    folded = fold(rondo, llama, tmp_path / "fold", "--residual", "kronecker", "--rank", rank)
    for (depth, module), weight in original(llama).items():
        _, out_a, in_a = folded.part(depth, module, "a").shape
        difference = rearranged(weight - folded.shared(depth, module), out_a, in_a)
        left_out = np.linalg.svd(difference, compute_uv=False)[rank:]
        error = np.linalg.norm(weight - folded.merged(depth, module))
        assert error == pytest.approx(np.sqrt((left_out ** 2).sum()), rel=1e-5)


def test_every_residual_is_nearer_than_none_and_richer_ones_than_lora(rondo, llama, tmp_path):
    matrices = original(llama)
    errors = {}
    for kind in ("lora", "lora-diag", "dora", "muldiag", "kronecker"):
        rank = [] if kind == "muldiag" else ["--rank", 4]
        folded = fold(rondo, llama, tmp_path / kind, "--residual", kind, *rank)
        errors[kind] = {key: np.linalg.norm(w - folded.merged(*key)) for key, w in matrices.items()}
        for key, weight in matrices.items():
            assert errors[kind][key] < np.linalg.norm(weight - folded.shared(*key)), (kind, key)
    for key in matrices:
        assert errors["lora-diag"][key] < errors["lora"][key]
        assert errors["dora"][key] < errors["lora"][key]


def cpu_seconds_of_children():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def test_svd_of_the_real_model_is_optimal_within_time_and_memory(rondo, smollm2, tmp_path):
    import gguf
    before = cpu_seconds_of_children()
    out = rondo.json("fold", smollm2, "--out", tmp_path / "fold", "--rank", 64)
    # 20 s on two cores, as processor time, so that other work on the machine does not count.
    assert cpu_seconds_of_children() - before < 40
    assert out["peak_memory_bytes"] < 1.3 * 4 * 134_515_008  # the model in f32
    folded = Fold(tmp_path / "fold")
    tensors = {t.name: t for t in gguf.GGUFReader(smollm2).tensors}
    for depth, module, name in [(0, "v", "attn_v"), (17, "o", "attn_output"), (29, "down", "ffn_down"),
                                (8, "up", "ffn_up")]:
        tensor = tensors[f"blk.{depth}.{name}.weight"]
        weight = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float64)
        sigma = np.linalg.svd(weight - folded.shared(depth, module), compute_uv=False)
        error = np.linalg.norm(weight - folded.merged(depth, module))
        assert error == pytest.approx(np.sqrt((sigma[64:] ** 2).sum()), rel=1e-5)


# --- the same function elsewhere -------------------------------------------------------------------

@pytest.mark.parametrize("family", ["llama-bias", "llama-head-dim", "gemma3", "qwen3", "neox", "gpt2"])
@pytest.mark.parametrize("kind", ["lora", "dora", "kronecker"])
def test_full_rank_fold_of_every_family_runs_in_transformers(rondo, tmp_path, family, kind):
    reference = make_tiny(family, tmp_path / "model")
    norms = "own" if kind == "dora" else "absorbed"
    rondo.json("fold", tmp_path / "model", "--out", tmp_path / "fold", "--order", "middle-sequence",
               "--keep-last", 0, "--residual", kind, "--rank", 100000, "--norms", norms)
    rondo.json("export", tmp_path / "fold", "--format", "hf", "--out", tmp_path / "hf")
    expect_equal_logits(logits(load_reference(tmp_path / "hf")), logits(reference), 64, 3)


@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_peft_computes_the_same_from_our_residuals(rondo, llama, tmp_path, kind):
    """Shared matrices as a plain transformers Llama, residuals as PEFT adapters of scale 1."""
    import peft
    rank = 6
    folded = fold(rondo, llama, tmp_path / "fold", "--order", "sequence", "--residual", kind, "--rank", rank)
    rondo.json("export", tmp_path / "fold", "--format", "hf", "--out", tmp_path / "hf")
    ours = logits(load_reference(tmp_path / "hf"))

    base = load_reference(llama)
    state = base.state_dict()
    for depth, (module, name) in itertools.product(range(LAYERS), LINEARS.items()):
        state[f"model.layers.{depth}.{name}.weight"].copy_(torch.tensor(folded.shared(depth, module)))
    without = logits(base)
    config = peft.LoraConfig(r=rank, lora_alpha=rank, use_dora=kind == "dora",
                             target_modules=[name.split(".")[-1] for name in LINEARS.values()])
    adapted = peft.get_peft_model(base, config).eval()
    parameters = dict(adapted.named_parameters())
    for depth, (module, name) in itertools.product(range(LAYERS), LINEARS.items()):
        prefix = f"base_model.model.model.layers.{depth}.{name}."
        parts = {"a": "lora_A.default.weight", "b": "lora_B.default.weight"}
        if kind == "dora":
            parts["magnitude"] = "lora_magnitude_vector.default.weight"
        for part, parameter in parts.items():
            with torch.no_grad():
                parameters[prefix + parameter].copy_(torch.tensor(folded.part(depth, module, part)))
    expect_equal_logits(logits(adapted), ours, 160, LAYERS)
    assert (without - ours).abs().max() > 0.1  # the residuals matter


# --- feed-forward widths ---------------------------------------------------------------------------

@pytest.mark.parametrize("variant", ["llama-bias", "neox"])
def test_narrower_feed_forward_is_a_model_of_its_own(rondo, variant, tmp_path):
    """`--ffn-width` keeps the first channels: the HF model with its matrices sliced by hand."""
    model = make_tiny(variant, tmp_path / "hf")
    tokens = torch.arange(48)[None] * 7 % 96
    rondo.json("export", tmp_path / "hf", "--out", tmp_path / "cut", "--ffn-width", 0.375)
    rondo.json("export", tmp_path / "hf", "--out", tmp_path / "native", "--ffn-width", 0.375,
               "--format", "native")
    width = int(model.config.intermediate_size * 0.375)
    with torch.no_grad():
        whole = model(tokens).logits
        for name, module in model.named_modules():
            if name.endswith(("gate_proj", "up_proj", "dense_h_to_4h")):
                module.weight.data, module.bias.data = module.weight[:width], module.bias[:width]
            if name.endswith(("down_proj", "dense_4h_to_h")):
                module.weight.data = module.weight[:, :width]
        want = model(tokens).logits
        cut = load_reference(tmp_path / "cut")
        assert cut.config.intermediate_size == width
        expect_equal_logits(cut(tokens).logits, want, 32, 3)
    assert (whole - want).abs().max() > 0.1
    assert rondo.json("inspect", tmp_path / "native")["d_ff"] == width
    tensors = load_file(tmp_path / "native" / "model.safetensors")
    assert tensors["blocks.1.up.weight"].shape == (width, 32)
    assert tensors["blocks.1.down.weight"].shape == (32, width)
