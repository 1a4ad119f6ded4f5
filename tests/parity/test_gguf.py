"""GGUF files that rondo writes, against transformers and llama.cpp; and back again, bit for bit."""

import json

import gguf
import llama_cpp
import numpy as np
import pytest
import torch
import transformers
from tiny_models import VARIANTS, load_reference, make_tiny
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

VOCAB = 96
PROMPT = [1, 17, 44, 90, 23, 8, 61, 35, 72, 15, 50, 29, 88]  # longer than the windows of the variants
STEPS = 16

# What GGUF (or llama.cpp's graph of the architecture) cannot hold, and the field that the error names.
REFUSED = {"qwen2-window": "local_layers", "qwen3-bias-window": "local_layers",
           "gpt2-relu-unscaled": "activation", "gpt2-gelu-untied": "activation"}
# llama.cpp attends to everything here, as with its own converter's files.
NO_WINDOW = {"mistral-window", "mistral-window-yarn"}
EXACT = [name for name in VARIANTS if name not in REFUSED]


def write_tokenizer(directory):
    """A byte-level BPE of 96 tokens without merges; llama.cpp does not load a model without one."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    newline, space = "\u010a", "\u0120"
    letters = [newline, space] + [c for c in alphabet if c not in (newline, space)]
    tokens = ["<unk>", "<s>", "</s>"] + letters[:VOCAB - 3]
    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False)
                                  for t in tokens[:3]])
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>",
                                         eos_token="</s>").save_pretrained(directory)


@pytest.fixture(scope="module", params=EXACT)
def exported(request, rondo, tmp_path_factory):
    """(variant, HF directory, GGUF file) of one tiny model."""
    directory = tmp_path_factory.mktemp(request.param)
    make_tiny(request.param, directory / "hf")
    write_tokenizer(directory / "hf")
    rondo.json("export", directory / "hf", "--format", "gguf", "--out", directory / "m.gguf",
               "--type", "f32")
    return request.param, directory / "hf", directory / "m.gguf"


def reference_of(variant, directory):
    """The function that llama.cpp computes for this file."""
    model = load_reference(directory)
    if variant.startswith("neox"):  # llama.cpp approximates GELU by tanh, which Pythia does not
        for layer in model.gpt_neox.layers:
            layer.mlp.act = torch.nn.GELU(approximate="tanh")
    if variant in NO_WINDOW:
        model.config.sliding_window = None
    return model


def tolerance(model, logits, tables=True):
    """How far other orders of summing may move a log-probability.

    Each layer adds a few sums of n terms in f32, each wrong by about eps * sqrt(n) of its size, which
    later layers pass on; ten times that for the largest of all entries. Where there is a GELU, ggml
    looks it up in a table of f16 (relative error 2^-11, once a layer).
    """
    config = model.config
    activation = (getattr(config, "hidden_activation", None) or getattr(config, "hidden_act", None) or
                  config.activation_function)
    width, layers = config.hidden_size, config.num_hidden_layers
    error = 10 * 2.0**-23 * np.sqrt(width) * np.sqrt(4 * layers)
    if tables and "gelu" in str(activation):
        error += 2.0**-11 * np.sqrt(layers)
    return error * float(np.abs(logits).max())


def test_llama_cpp_computes_what_transformers_does(exported):
    variant, directory, path = exported
    tokens, got = llama_cpp.generate(path, PROMPT, STEPS, VOCAB)
    assert len(tokens) == STEPS and not np.isnan(got).any()
    model = reference_of(variant, directory)
    with torch.no_grad():
        logits = model(torch.tensor([PROMPT + tokens[:-1]])).logits[0, len(PROMPT) - 1:].double()
    expected = torch.log_softmax(logits, -1).numpy()
    difference = np.abs(got - expected).max()
    assert difference < tolerance(model, logits.numpy()), difference
    logits[:, 2] = -np.inf  # the end token, which is not chosen
    assert tokens == logits.argmax(-1).tolist()


def test_back_to_hugging_face_is_the_original_bit_for_bit(exported, rondo, tmp_path):
    variant, directory, path = exported
    rondo.json("export", path, "--format", "hf", "--out", tmp_path / "back", "--type", "f32")
    original, back = load_reference(directory), load_reference(tmp_path / "back")
    before, after = original.state_dict(), back.state_dict()
    if variant == "neox-no-bias-tied":  # llama.cpp wants a head and biases: a copy and zeros
        for name in set(after) - set(before):
            assert name.endswith("bias") and not after.pop(name).any()
    assert before.keys() == after.keys()
    # Gemma's gains are one more than its weights, rounded to f32 on the way; the scale of this
    # variant's attention (16 per head, 24 in the config) moves into the gains of the queries.
    rounded = variant.startswith("gemma")
    for name, tensor in before.items():
        if rounded and name.endswith("norm.weight"):
            factor = (16 / 24)**0.5 if variant == "gemma3" and "q_norm" in name else 1
            expected = (1 + tensor.double()) * factor - 1
            assert torch.allclose(after[name].double(), expected, rtol=0, atol=2.0**-22), name
        else:
            assert torch.equal(tensor, after[name]), name
    ids = torch.tensor([PROMPT])
    with torch.no_grad():
        expected, got = original(ids).logits, back(ids).logits
    # Same weights, same program: equal, but for that rounding.
    atol = tolerance(original, expected.numpy(), tables=False) if rounded else 0
    assert torch.allclose(got, expected, rtol=0, atol=atol)


def test_tensors_are_as_the_gguf_library_reads_them(exported):
    _, directory, path = exported
    reader = gguf.GGUFReader(path)
    tensors = {tensor.name: tensor.data for tensor in reader.tensors}
    state = load_reference(directory).state_dict()
    embedding = next(value for name, value in state.items()
                     if name.endswith(("embed_tokens.weight", "embed_in.weight", "wte.weight")))
    np.testing.assert_array_equal(tensors["token_embd.weight"], embedding.numpy())
    fields = {key: field.contents() for key, field in reader.fields.items()}
    assert len(fields["tokenizer.ggml.tokens"]) == VOCAB
    architecture = fields["general.architecture"]
    config = json.loads((directory / "config.json").read_text())
    assert fields[f"{architecture}.block_count"] == config.get("num_hidden_layers",
                                                               config.get("n_layer"))


def permute(weight, heads):
    """Half-split to interleaved rows, as the converter of llama.cpp stores q and k of a Llama."""
    rows = weight.reshape(heads, 2, weight.shape[0] // heads // 2, -1)
    return rows.swapaxes(1, 2).reshape(weight.shape)


def test_llama_rows_are_permuted_as_by_llama_cpps_converter(rondo, tmp_path):
    state = make_tiny("llama-gqa", tmp_path / "hf").state_dict()
    rondo.json("export", tmp_path / "hf", "--format", "gguf", "--out", tmp_path / "m.gguf")
    tensors = {t.name: t.data for t in gguf.GGUFReader(tmp_path / "m.gguf").tensors}
    for name, heads in (("q", 4), ("k", 2)):
        weight = state[f"model.layers.1.self_attn.{name}_proj.weight"].numpy()
        np.testing.assert_array_equal(tensors[f"blk.1.attn_{name}.weight"], permute(weight, heads))


@pytest.mark.parametrize("store", ["f16", "bf16"])
def test_half_precision_is_rounded_as_torch_rounds(rondo, tmp_path, store):
    state = make_tiny("qwen3", tmp_path / "hf").state_dict()
    rondo.json("export", tmp_path / "hf", "--format", "gguf", "--out", tmp_path / "m.gguf",
               "--type", store)
    tensors = {t.name: t for t in gguf.GGUFReader(tmp_path / "m.gguf").tensors}
    dtype = {"f16": torch.float16, "bf16": torch.bfloat16}[store]
    up = tensors["blk.2.ffn_up.weight"]
    expected = state["model.layers.2.mlp.up_proj.weight"].to(dtype).float().numpy()
    np.testing.assert_array_equal(gguf.dequantize(up.data, up.tensor_type).reshape(expected.shape),
                                  expected)
    norm = tensors["blk.2.ffn_norm.weight"]
    assert norm.tensor_type == gguf.GGMLQuantizationType.F32


@pytest.mark.parametrize("variant", REFUSED)
def test_what_llama_cpp_would_compute_differently_is_refused(rondo, tmp_path, variant):
    make_tiny(variant, tmp_path / "hf")
    result = rondo.run("export", tmp_path / "hf", "--format", "gguf", "--out",
                       tmp_path / "m.gguf", check=False)
    assert result.returncode != 0
    assert REFUSED[variant] in result.stderr
    assert not (tmp_path / "m.gguf").exists()


def test_llama2c_file_tells_the_same_story_in_llama_cpp(rondo, stories, tmp_path):
    """Reading llama2.c files, independently: the tensors put together here by the format's order."""
    rondo.json("export", stories, "--format", "gguf", "--out", tmp_path / "m.gguf")
    prompt = [1, 403, 407, 261, 378]  # BOS, "Once upon a time"
    tokens, got = llama_cpp.generate(tmp_path / "m.gguf", prompt, 48, 512)
    with torch.no_grad():
        logits = llama2c_reference(stories)(torch.tensor([prompt + tokens[:-1]])).logits[0]
    expected = torch.log_softmax(logits[len(prompt) - 1:].double(), -1).numpy()
    assert np.abs(got - expected).max() < 1e-3  # f32 rounding moves it by about 1e-5
    assert tokens == [int(i) for i in expected.argmax(-1)]


def llama2c_reference(path):
    header = np.fromfile(path, np.int32, 7)
    dim, hidden, layers, heads, kv_heads, vocab, positions = map(int, header)
    values = np.fromfile(path, np.float32, offset=28)
    at = 0

    def take(*shape):
        nonlocal at
        count = int(np.prod(shape))
        at += count
        return torch.from_numpy(values[at - count:at].reshape(shape).copy())

    def half_split(weight, count):
        rows = weight.reshape(count, weight.shape[0] // count // 2, 2, dim)
        return rows.transpose(1, 2).reshape(weight.shape)

    kv = dim * kv_heads // heads
    stacks = {}
    embedding = take(vocab, dim)
    for name, shape in (("input_layernorm", (dim,)), ("self_attn.q_proj", (dim, dim)),
                        ("self_attn.k_proj", (kv, dim)), ("self_attn.v_proj", (kv, dim)),
                        ("self_attn.o_proj", (dim, dim)), ("post_attention_layernorm", (dim,)),
                        ("mlp.gate_proj", (hidden, dim)), ("mlp.down_proj", (dim, hidden)),
                        ("mlp.up_proj", (hidden, dim))):
        stacks[name] = take(layers, *shape)
    config = transformers.LlamaConfig(
        vocab_size=vocab, hidden_size=dim, intermediate_size=hidden, num_hidden_layers=layers,
        num_attention_heads=heads, num_key_value_heads=kv_heads, max_position_embeddings=positions,
        rms_norm_eps=1e-5, tie_word_embeddings=True, bos_token_id=1, eos_token_id=2)
    state = {"model.embed_tokens.weight": embedding, "lm_head.weight": embedding,
             "model.norm.weight": take(dim)}
    for name, stack in stacks.items():
        for layer, weight in enumerate(stack):
            if name.endswith("q_proj"):
                weight = half_split(weight, heads)
            if name.endswith("k_proj"):
                weight = half_split(weight, kv_heads)
            state[f"model.layers.{layer}.{name}.weight"] = weight
    model = transformers.LlamaForCausalLM(config).eval()
    model.load_state_dict(state)
    return model
