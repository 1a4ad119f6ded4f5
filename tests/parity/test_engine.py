"""Logits of the engine beside other implementations, token for token.

Oracles: transformers (eager attention, f32) for every family and for SmolLM2's GGUF file, and a decoder
written out here in torch for llama2.c's format.

Tolerance. Every operation in f32 rounds by eps = 2^-24 of its result; a dot product over `width`
elements by about eps·sqrt(width) of its size. About ten such operations follow one another in a layer,
independent of each other, so the relative error of the last hidden state is near
eps·sqrt(width)·sqrt(10·layers). Two programs differ by sqrt(2) of that; the factor 8 covers amplification
by norms and softmax and the largest of thousands of errors. It is taken relative to the largest logit.
"""

import json
import math
import struct
import subprocess

import numpy as np
import pytest
import torch
from conftest import BUILD
from safetensors.numpy import load_file, save_file
from tiny_models import LENGTH_VARIANTS, VARIANTS, WINDOW, make_tiny
from transformers import DynamicCache

EPSILON = 2.0 ** -24


def tolerance(logits, width, layers):
    return 8 * math.sqrt(2) * EPSILON * math.sqrt(width * 10 * layers) * np.abs(logits).max()


def our_logits(model, ids, dtype="f32", stepwise=0):
    """[tokens, vocab]; the last `stepwise` tokens go through decode steps."""
    tool = BUILD / "bin" / "rondo_logits"
    assert tool.exists(), f"{tool} is missing: run `make build`"
    result = subprocess.run([tool, model, dtype, str(stepwise)], timeout=300, capture_output=True,
                            input=" ".join(map(str, ids)).encode())
    assert result.returncode == 0, result.stderr.decode()
    return np.frombuffer(result.stdout, np.float32).reshape(len(ids), -1)


def reference_logits(model, ids):
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0].numpy()


@pytest.mark.parametrize("variant", VARIANTS)
def test_family(variant, tmp_path):
    model = make_tiny(variant, tmp_path)
    config = model.config
    ids = np.random.default_rng(1).integers(0, config.vocab_size, 100).tolist()
    assert len(ids) > 6 * WINDOW  # sliding windows have long left the beginning
    expected = reference_logits(model, ids)
    width = max(p.shape[-1] for p in model.parameters() if p.dim() == 2)
    limit = tolerance(expected, width, config.num_hidden_layers)
    ours = our_logits(tmp_path, ids)
    np.testing.assert_allclose(ours, expected, rtol=0, atol=limit)
    # Step by step the engine gives the same bits as in one prefill.
    np.testing.assert_array_equal(our_logits(tmp_path, ids, stepwise=60), ours)


@pytest.mark.parametrize("tokens", [50, 100])
@pytest.mark.parametrize("variant", LENGTH_VARIANTS)
def test_rope_that_depends_on_the_length(variant, tokens, tmp_path):
    """Below and above the original 64 positions, at once and step by step (transformers keeps the keys of
    earlier steps as they were turned)."""
    model = make_tiny(variant, tmp_path)
    ids = np.random.default_rng(1).integers(0, model.config.vocab_size, tokens).tolist()
    expected = reference_logits(model, ids)
    limit = tolerance(expected, 48, model.config.num_hidden_layers)
    np.testing.assert_allclose(our_logits(tmp_path, ids), expected, rtol=0, atol=limit)
    model = type(model).from_pretrained(tmp_path, dtype=torch.float32, attn_implementation="eager").eval()
    cache, rows = DynamicCache(), []
    for piece in [ids[:40]] + [[token] for token in ids[40:]]:
        with torch.no_grad():
            rows.append(model(torch.tensor([piece]), past_key_values=cache).logits[0].numpy())
    stepwise = np.concatenate(rows)
    np.testing.assert_allclose(our_logits(tmp_path, ids, stepwise=tokens - 40), stepwise, rtol=0, atol=limit)
    if tokens > 64:
        assert np.abs(stepwise - expected).max() > 100 * limit


@pytest.mark.parametrize("variant, change", [
    ("mistral-window", dict(sliding_window=WINDOW + 1)), ("llama", dict(rms_norm_eps=1e-3)),
    ("gemma3-softcap", dict(final_logit_softcapping=5.1)), ("gpt2", dict(layer_norm_epsilon=1e-3))])
def test_tolerance_tells_small_changes_apart(variant, change, tmp_path):
    """One key more in the window, or another epsilon, shows far above the tolerance."""
    model = make_tiny(variant, tmp_path)
    ids = np.random.default_rng(1).integers(0, model.config.vocab_size, 40).tolist()
    expected = reference_logits(model, ids)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config.keys() >= change.keys()
    (tmp_path / "config.json").write_text(json.dumps({**config, **change}))
    difference = np.abs(our_logits(tmp_path, ids) - expected).max()
    assert difference > 3 * tolerance(expected, 64, model.config.num_hidden_layers)


def prefix_cache(config, tensors):
    """Prefix vectors as transformers' cache of earlier positions: [1, kv_heads, prefix, head_dim] a layer."""
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    cache = DynamicCache()
    for depth in range(config.num_hidden_layers):
        k, v = (torch.tensor(tensors[f"residual.{depth}.prefix.{part}"]) for part in "kv")
        split = lambda x: x.view(len(x), heads, -1).transpose(0, 1)[None]
        cache.update(split(k), split(v), depth)
    return cache


@pytest.mark.parametrize("variant", ["llama-gqa", "qwen2", "qwen3", "gemma", "neox", "gpt2"])
def test_prefix_vectors(rondo, variant, tmp_path):
    """Keys and values that all queries see, at no position: transformers' cache, with positions from 0."""
    model = make_tiny(variant, tmp_path / "hf")
    config, count = model.config, 5
    rondo.json("fold", tmp_path / "hf", "--out", tmp_path / "fold", "--order", "identity",
               "--prefix", count)
    tensors = load_file(tmp_path / "fold" / "model.safetensors")
    random = np.random.default_rng(2)
    for name, values in tensors.items():
        if ".prefix." in name:
            tensors[name] = random.normal(size=values.shape).astype(np.float32)
    save_file(tensors, tmp_path / "fold" / "model.safetensors")
    ids = random.integers(0, config.vocab_size, 40).tolist()
    with torch.no_grad():
        expected = model(torch.tensor([ids]), past_key_values=prefix_cache(config, tensors),
                         position_ids=torch.arange(len(ids))[None]).logits[0].numpy()
    width = max(p.shape[-1] for p in model.parameters() if p.dim() == 2)
    limit = tolerance(expected, width, config.num_hidden_layers)
    assert np.abs(expected - reference_logits(model, ids)).max() > 100 * limit  # the prefix matters
    ours = our_logits(tmp_path / "fold", ids)
    np.testing.assert_allclose(ours, expected, rtol=0, atol=limit)
    np.testing.assert_array_equal(our_logits(tmp_path / "fold", ids, stepwise=30), ours)
    refused = rondo.run("export", tmp_path / "fold", "--format", "hf", "--out", tmp_path / "no",
                        check=False)
    assert refused.returncode != 0 and "prefix vectors" in refused.stderr
    assert not (tmp_path / "no").exists()


@pytest.fixture(scope="module")
def smollm2_case(smollm2, wikitext):
    from transformers import AutoModelForCausalLM, AutoTokenizer
    place, file = smollm2.parent, smollm2.name
    tokenizer = AutoTokenizer.from_pretrained(place, gguf_file=file)
    ids = tokenizer(wikitext.read_text()[:4000]).input_ids[:400]
    model = AutoModelForCausalLM.from_pretrained(place, gguf_file=file, dtype=torch.float32,
                                                 attn_implementation="eager").eval()
    return ids, reference_logits(model, ids), our_logits(smollm2, ids, stepwise=20)


def test_smollm2_logits(smollm2_case):
    _, expected, ours = smollm2_case
    np.testing.assert_allclose(ours, expected, rtol=0, atol=tolerance(expected, 1536, 30))
    assert (ours.argmax(1) == expected.argmax(1)).mean() > 0.995


def losses(logits, ids):
    log_probabilities = torch.log_softmax(torch.tensor(logits[:-1]).double(), -1)
    return -log_probabilities.gather(1, torch.tensor(ids[1:])[:, None])[:, 0]


def test_smollm2_losses(smollm2_case):
    ids, expected, ours = smollm2_case
    difference = losses(ours, ids) - losses(expected, ids)
    assert difference.abs().max() < 2 * tolerance(expected, 1536, 30)
    assert abs(difference.mean()) < 1e-5  # of perplexity 18.85 that is 0.0002


def test_smollm2_in_bf16(smollm2, smollm2_case):
    """bf16 keeps 8 bits; with f32 activations and sums the mean loss moves by less than 0.5 %."""
    ids, expected, _ = smollm2_case
    ours = our_logits(smollm2, ids, "bf16")
    loss = losses(expected, ids).mean()
    assert abs(losses(ours, ids).mean() - loss) < 0.005 * loss
    assert (ours.argmax(1) == expected.argmax(1)).mean() > 0.95


def read_llama2c(path):
    """Configuration and tensors of a llama2.c v0 file, in the order of its export script."""
    data = path.read_bytes()
    dim, hidden, layers, heads, kv_heads, vocab, positions = struct.unpack("7i", data[:28])
    values = torch.tensor(np.frombuffer(data, np.float32, offset=28).copy())
    shared, vocab, kv_dim, half = vocab > 0, abs(vocab), dim // heads * kv_heads, dim // heads // 2
    shapes = dict(embed=(vocab, dim), attn_norm=(layers, dim), q=(layers, dim, dim),
                  k=(layers, kv_dim, dim), v=(layers, kv_dim, dim), o=(layers, dim, dim),
                  ffn_norm=(layers, dim), gate=(layers, hidden, dim), down=(layers, dim, hidden),
                  up=(layers, hidden, dim), norm=(dim,), cos=(positions, half), sin=(positions, half))
    tensors, offset = {}, 0
    for name, shape in shapes.items():
        tensors[name] = values[offset:offset + math.prod(shape)].reshape(shape)
        offset += math.prod(shape)
    tensors["head"] = tensors["embed"] if shared else values[offset:].reshape(vocab, dim)
    return layers, heads, kv_heads, tensors


def llama2c_logits(path, ids):
    """The decoder of llama2.c: rotary pairs are neighbours."""
    layers, heads, kv_heads, t = read_llama2c(path)
    norm = lambda x, gain: x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-5) * gain
    n, dim = len(ids), t["embed"].shape[1] // heads
    angle = torch.arange(n)[:, None] * 10000.0 ** (-torch.arange(0, dim, 2) / dim)
    turn = torch.polar(torch.ones_like(angle), angle)[:, None]
    mask = torch.full((n, n), -math.inf).triu(1)

    def rotate(x):
        pairs = torch.view_as_complex(x.reshape(n, -1, dim // 2, 2).contiguous())
        return torch.view_as_real(pairs * turn).reshape(n, -1, dim)

    hidden = t["embed"][torch.tensor(ids)]
    for i in range(layers):
        x = norm(hidden, t["attn_norm"][i])
        q, k = rotate(x @ t["q"][i].T), rotate(x @ t["k"][i].T)
        v = (x @ t["v"][i].T).reshape(n, kv_heads, dim)
        k, v = (y.repeat_interleave(heads // kv_heads, 1) for y in (k, v))
        scores = torch.einsum("qhd,khd->hqk", q, k) / math.sqrt(dim) + mask
        attended = torch.einsum("hqk,khd->qhd", scores.softmax(-1), v).reshape(n, -1)
        hidden = hidden + attended @ t["o"][i].T
        x = norm(hidden, t["ffn_norm"][i])
        inner = torch.nn.functional.silu(x @ t["gate"][i].T) * (x @ t["up"][i].T)
        hidden = hidden + inner @ t["down"][i].T
    return (norm(hidden, t["norm"]) @ t["head"].T).numpy()


def test_stories_logits(stories):
    import sentencepiece
    tokenizer = sentencepiece.SentencePieceProcessor(str(stories.with_name("tok512.model")))
    text = "Once upon a time, there was a little girl named Lily. She loved to play outside in the park."
    ids = [tokenizer.bos_id(), *tokenizer.encode(text)]
    expected = llama2c_logits(stories, ids)
    ours = our_logits(stories, ids, stepwise=10)
    np.testing.assert_allclose(ours, expected, rtol=0, atol=tolerance(expected, 172, 5))


def test_stories_greedy_text(stories):
    """The oracle's greedy continuation is ours as well, and it is a story."""
    import sentencepiece
    tokenizer = sentencepiece.SentencePieceProcessor(str(stories.with_name("tok512.model")))
    ids = [tokenizer.bos_id()]
    for _ in range(60):
        ids.append(int(llama2c_logits(stories, ids)[-1].argmax()))
    assert our_logits(stories, ids, stepwise=60).argmax(1)[:-1].tolist() == ids[1:]
    assert tokenizer.decode(ids).startswith("Once upon a time, there was a little girl named Lily.")


def test_babyllama_logits(stories):
    path = stories.parent.parent / "babyllama105" / "model5000.bin"
    ids = [1, *range(3, 103)]
    expected = llama2c_logits(path, ids)
    np.testing.assert_allclose(our_logits(path, ids), expected, rtol=0,
                               atol=tolerance(expected, 352, 5))
