"""`rondo quantize` against the gguf library, transformers and llama.cpp: blocks bit for bit where the
library has an encoder, decoded values everywhere, and plain models run by llama.cpp."""

import json

import gguf
import llama_cpp
import numpy as np
import pytest
import torch
import transformers
from test_gguf import PROMPT, VOCAB, write_tokenizer
from tiny_models import load_reference

SMALL = ["q8_0", "q4_0", "q4_1", "q5_0", "q5_1"]
K_TYPES = {"q4_k": 16, "q5_k": 32, "q6_k": 64}  # codes
STEPS = 12


def hard_rows(generator):
    """Rows of 512 where encoders differ if anything does: ties, extremes of either sign, constants,
    zeros, wide ranges and values below f16's range (above 1e-37: where 1 / scale overflows, the
    reference casts infinity to an integer, which is not defined)."""
    rows = torch.randn(16, 512, generator=generator) * 0.05
    rows[0] = 0
    rows[1] = 0.75
    rows[2] = -0.75
    rows[3] = torch.arange(512).remainder(17).float() / 8 - 1  # halves of a step
    rows[4] = torch.arange(512).remainder(256).float() / 128 - 1
    rows[5] *= 1e-6
    rows[6] *= 1e4
    rows[7] = rows[7].abs()
    rows[8] = -rows[8].abs()
    rows[9, ::32] = 3.0
    rows[10, ::32] = -3.0
    rows[11] = 1e-36
    rows[12, 1::2] = 0
    rows[13] = torch.arange(512).remainder(2).float() * 2 - 1
    return rows


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """A Llama with rows of 256 and 512 numbers, some of them hard to encode."""
    directory = tmp_path_factory.mktemp("wide")
    config = transformers.LlamaConfig(
        vocab_size=VOCAB, hidden_size=256, intermediate_size=512, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=128,
        bos_token_id=1, eos_token_id=2, tie_word_embeddings=False)
    generator = torch.Generator().manual_seed(7)
    model = transformers.LlamaForCausalLM(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.06)
    model.save_pretrained(directory)
    write_tokenizer(directory)
    return directory


@pytest.fixture(scope="module")
def hard(wide, tmp_path_factory):
    """The same with hard rows in a matrix whose rows GGUF leaves in place."""
    directory = tmp_path_factory.mktemp("hard")
    model = load_reference(wide)
    with torch.no_grad():
        model.model.layers[1].mlp.down_proj.weight[:16] = hard_rows(
            torch.Generator().manual_seed(9))
    model.save_pretrained(directory)
    return directory


def quantized(rondo, model, out, kind, *flags):
    rondo.json("quantize", model, "--type", kind, "--embed-type", kind, "--head-type", kind,
               "--out", out, *flags)
    return {tensor.name: tensor for tensor in gguf.GGUFReader(out).tensors}


NAMES = {"blk.1.ffn_down.weight": "model.layers.1.mlp.down_proj.weight",
         "blk.0.ffn_up.weight": "model.layers.0.mlp.up_proj.weight",
         "blk.0.attn_v.weight": "model.layers.0.self_attn.v_proj.weight",
         "token_embd.weight": "model.embed_tokens.weight", "output.weight": "lm_head.weight"}


@pytest.mark.parametrize("kind", SMALL)
def test_blocks_are_those_of_the_reference(rondo, hard, tmp_path, kind):
    tensors = quantized(rondo, hard, tmp_path / "m.gguf", kind)
    state = load_reference(hard).state_dict()
    number = gguf.GGMLQuantizationType[kind.upper()]
    for name, source in NAMES.items():
        assert tensors[name].tensor_type == number
        expected = gguf.quantize(state[source].numpy(), number)
        np.testing.assert_array_equal(tensors[name].data, expected, err_msg=name)


def min_max_error(rows, codes):
    """RMS error of rounding groups of 32 between their extremes with exact scales."""
    groups = rows.reshape(-1, 32).astype(np.float64)
    low = groups.min(1, keepdims=True)
    step = (groups.max(1, keepdims=True) - low) / (codes - 1)
    rounded = low + step * np.rint((groups - low) / np.where(step == 0, 1, step))
    return np.sqrt(np.mean((rounded - groups)**2))


@pytest.mark.parametrize("kind", K_TYPES)
def test_k_blocks_decode_to_less_error_than_exact_scales_leave(rondo, wide, tmp_path, kind):
    tensors = quantized(rondo, wide, tmp_path / "m.gguf", kind)
    state = load_reference(wide).state_dict()
    for name, source in NAMES.items():
        tensor, weight = tensors[name], state[source].numpy()
        assert tensor.tensor_type == gguf.GGMLQuantizationType[kind.upper()]
        decoded = gguf.dequantize(tensor.data, tensor.tensor_type).reshape(weight.shape)
        error = np.sqrt(np.mean((decoded.astype(np.float64) - weight)**2))
        assert error < min_max_error(weight, K_TYPES[kind]), name


@pytest.mark.parametrize("kind", SMALL + list(K_TYPES))
def test_llama_cpp_runs_what_was_written(rondo, wide, tmp_path, kind):
    """Against transformers with the weights as decoded by the gguf library."""
    path = tmp_path / "m.gguf"
    tensors = quantized(rondo, wide, path, kind)
    rondo.json("export", path, "--format", "hf", "--out", tmp_path / "back")
    model = load_reference(tmp_path / "back")
    down = tensors["blk.1.ffn_down.weight"]
    np.testing.assert_array_equal(
        model.model.layers[1].mlp.down_proj.weight.detach().numpy(),
        gguf.dequantize(down.data, down.tensor_type).reshape(256, 512))
    tokens, got = llama_cpp.generate(path, PROMPT, STEPS, VOCAB)
    with torch.no_grad():
        logits = model(torch.tensor([PROMPT + tokens[:-1]])).logits[0, len(PROMPT) - 1:].double()
    expected = torch.log_softmax(logits, -1).numpy()
    # llama.cpp rounds activations to 8 bits in blocks of 32 (the K types in blocks of 256): half a
    # step of 1/127 of the largest, uniform, is 0.8 % of a value of unit variance whose block reaches
    # 3.5 deviations. Two layers of seven products, their errors independent; five deviations for the
    # largest of all entries.
    spread = float(logits.std())
    assert np.abs(got - expected).max() < 5 * 0.008 * np.sqrt(2 * 7) * spread


def test_calibration_lowers_the_error_of_a_folded_model(rondo, stories, wikitext, tmp_path):
    """stories260K, folded in a cycle with residuals: divergence from the fold, against rounding to
    nearest, on text that the calibration has not seen."""
    rondo.json("fold", stories, "--out", tmp_path / "fold", "--order", "middle-cycle", "--rank", 32)
    story = tmp_path / "story.txt"
    lines = [rondo.run("generate", stories, "--prompt", start, "--max-tokens", 220, "--temperature",
                       "0.8", "--seed", seed).stdout
             for seed, start in enumerate(["Once upon a time", "One day", "Lily", "The dog"])]
    story.write_text("\n".join(lines[:3]))
    held_out = tmp_path / "held_out.txt"
    held_out.write_text(lines[3])
    report = {}
    for name, flags in {"nearest": (), "fitted": ("--calibrate", story)}.items():
        report[name] = rondo.json(
            "quantize", tmp_path / "fold", "--type", "q4_0", "--out", tmp_path / f"{name}.gguf",
            "--evaluate", held_out, "--evaluate-context", 128, "--svg", tmp_path / "e.svg", *flags)
        assert "loop 2" in (tmp_path / "e.svg").read_text()
        assert report[name]["architecture"] == "rondo"
        assert len(report[name]["hidden_error"]) == len(report[name]["loop_of_depth"])
        again = rondo.json("eval", tmp_path / f"{name}.gguf", "--text", held_out, "--context", 128)
        assert again["perplexity"] == pytest.approx(report[name]["perplexity"], rel=1e-6)
    assert report["fitted"]["kl"] < 0.7 * report["nearest"]["kl"]


def test_the_file_of_a_folded_model_is_whole(rondo, stories, tmp_path):
    """Plan, configuration, every shared tensor once and the vocabulary, as the gguf library reads
    them; and every command takes it."""
    rondo.json("fold", stories, "--out", tmp_path / "fold", "--rank", 32)
    path = tmp_path / "m.gguf"
    rondo.json("quantize", tmp_path / "fold", "--type", "q8_0", "--out", path)
    reader = gguf.GGUFReader(path)
    fields = {key: field.contents() for key, field in reader.fields.items()}
    assert fields["general.architecture"] == "rondo"
    config = json.loads(fields["rondo.config"])
    native = json.loads((tmp_path / "fold" / "config.json").read_text())
    assert config["rondo"] == native["rondo"]
    assert config["base_model_type"] == "llama"
    assert len(fields["tokenizer.ggml.tokens"]) == 512
    names = [tensor.name for tensor in reader.tensors]
    blocks = 1 + max(config["rondo"]["modules"]["down"]["blocks"])
    assert sum(name.endswith(".down.weight") for name in names) == blocks
    before = rondo.json("inspect", tmp_path / "fold")
    after = rondo.json("inspect", path)
    assert after["plan"] == before["plan"]
    text = rondo.run("generate", path, "--prompt", "Once upon a time", "--max-tokens", 8).stdout
    assert text == rondo.run("generate", tmp_path / "fold", "--prompt", "Once upon a time",
                             "--max-tokens", 8).stdout


def test_wishes_that_make_no_sense_are_refused(rondo, stories, tmp_path):
    def fails(message, *arguments):
        result = rondo.run("quantize", stories, *arguments, check=False)
        assert result.returncode != 0 and message in result.stderr, result.stderr

    out = tmp_path / "m.gguf"
    fails("--type", "--type", "q3_k", "--out", out)
    fails("--type", "--type", "f16", "--out", out)
    fails("--out", "--type", "q4_0", "--out", tmp_path / "m.bin")
    fails("--layout", "--type", "q4_0", "--out", out, "--layout", "mlx")
    fails("--embed-type", "--type", "q4_0", "--out", out, "--embed-type", "q9")
    rondo.json("fold", stories, "--out", tmp_path / "fold", "--rank", 8)
    result = rondo.run("quantize", tmp_path / "fold", "--type", "q4_0", "--out", out, "--layout",
                       "llama.cpp", check=False)
    assert result.returncode != 0 and "unrolled" in result.stderr
    assert not out.exists()
