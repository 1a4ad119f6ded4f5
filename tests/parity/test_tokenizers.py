"""Token for token against Hugging Face `tokenizers` and transformers, and `sentencepiece`."""

import json
import random
import subprocess

import gguf
import pytest
import sentencepiece
import transformers
from conftest import BUILD, DATA
from sentencepiece import sentencepiece_model_pb2
from text_corpus import CODE, SCRIPTS, everything
from tokenizer_models import FAMILIES, byte_level, gpt2, save, special, train_sentencepiece
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

SPECIALS = ["<|im_start|>user\nHi<|im_end|>\n", "<s>a</s> b<s>", "<|endoftext|>", "x<|endoftext|>y <|endoftext|> z",
            "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>", "<think>\nhm\n</think>ok",
            "a  <mask>  b <r>  c <b> d", "word wording swords word, wördword word", "<x <xy> <xyz <x", "<unk> <0x41>",
            "<|im_start|", "<<s>>", "a<bos>b<start_of_turn>user", "<s> <s>  <s>", "é e\u0301 <é>"]


class Tool:
    """One tokenize_tool process a call: requests in, answers out."""

    def __init__(self, model):
        self.model = model
        self.binary = BUILD / "bin" / "tokenize_tool"
        assert self.binary.exists(), f"{self.binary} is missing: run `make build`"

    def run(self, requests):
        result = subprocess.run([self.binary, self.model], capture_output=True, timeout=300,
                                input="".join(json.dumps(r) + "\n" for r in requests).encode())
        assert result.returncode == 0, result.stderr.decode()
        answers = [json.loads(line) for line in result.stdout.decode().split("\n")[:-1]]
        assert len(answers) == len(requests)
        return answers

    def ask(self, **request):
        return self.run([request])[0]

    def encode(self, data, **options):
        requests = [dict(op="encode", hex=d.hex(), **options) for d in data]
        return [answer["ids"] for answer in self.run(requests)]


def check_equal(ours, theirs, data):
    for mine, reference, raw in zip(ours, theirs, data, strict=True):
        assert mine == reference, f"{raw[:80]!r} ({len(raw)} bytes)"


def hard_corpus(sweep=False):
    return everything(sweep) + [s.encode() for s in SPECIALS]


def strings(data):
    return [d.decode("utf-8", errors="replace") for d in data]


@pytest.fixture(scope="module", params=FAMILIES)
def family(request, tmp_path_factory):
    tokenizer = FAMILIES[request.param]()
    return tokenizer, Tool(save(tokenizer, tmp_path_factory.mktemp(request.param)))


def test_encodes_as_tokenizers(family):
    oracle, tool = family
    for add_special in (True, False):
        data = hard_corpus(sweep=add_special)
        expected = [e.ids for e in oracle.encode_batch(strings(data), add_special_tokens=add_special)]
        check_equal(tool.encode(data, add_special=add_special), expected, data)


def test_leaves_special_tokens_as_text(family):
    oracle, tool = family
    data = [s.encode() for s in SPECIALS]
    oracle.encode_special_tokens = True
    expected = [e.ids for e in oracle.encode_batch(strings(data), add_special_tokens=False)]
    oracle.encode_special_tokens = False
    check_equal(tool.encode(data, add_special=False, parse_special=False), expected, data)


def test_decodes_and_streams_as_tokenizers(family):
    oracle, tool = family
    rng = random.Random(3)
    size = oracle.get_vocab_size()
    sequences = [[rng.randrange(size) for _ in range(rng.randint(0, 40))] for _ in range(400)]
    sequences += [e.ids for e in oracle.encode_batch(SCRIPTS + SPECIALS + [CODE, "a", " a", "  a  "])]
    check_decode(oracle, tool, sequences)


def check_decode(oracle, tool, sequences):
    for skip in (True, False):
        answers = tool.run([dict(op="decode", ids=ids, skip_special=skip) for ids in sequences])
        for ids, answer in zip(sequences, answers):
            assert answer["text"] == oracle.decode(ids, skip_special_tokens=skip), ids
            assert "".join(answer["stream"]) == answer["text"], ids


def test_streams_text_as_soon_as_it_is_certain(tmp_path):
    oracle = gpt2()
    tool = Tool(save(oracle, tmp_path))
    ids = oracle.encode("Hi 👩‍👩‍👧 你").ids
    answer = tool.ask(op="decode", ids=ids)
    assert answer["stream"][0] == "Hi" and answer["stream"][-1] == ""
    assert all("\ufffd" not in piece for piece in answer["stream"])


# --- Real vocabularies -------------------------------------------------------------------------------


def gguf_fields(path):
    reader = gguf.GGUFReader(path)
    return {key: field.contents() for key, field in reader.fields.items() if key.startswith("tokenizer.")}


@pytest.fixture(scope="module")
def smollm2_oracle(smollm2):
    """SmolLM2's vocabulary in the published components."""
    fields = gguf_fields(smollm2)
    tokens = fields["tokenizer.ggml.tokens"]
    tokenizer = Tokenizer(models.BPE({t: i for i, t in enumerate(tokens)},
                                     [tuple(m.split(" ")) for m in fields["tokenizer.ggml.merges"]]))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level()])
    tokenizer.decoder = decoders.ByteLevel()
    types = fields["tokenizer.ggml.token_type"]
    tokenizer.add_special_tokens([special(t) for t, kind in zip(tokens, types) if kind == 3])
    return tokenizer


def test_smollm2(smollm2, smollm2_oracle, tmp_path):
    data = hard_corpus()
    expected = [e.ids for e in smollm2_oracle.encode_batch(strings(data))]
    check_equal(Tool(smollm2).encode(data), expected, data)
    # The files written for other programs, read by transformers and by rondo.
    tool = Tool(smollm2)
    assert tool.ask(op="write_files", directory=str(tmp_path)) == {}
    loaded = transformers.AutoTokenizer.from_pretrained(tmp_path)
    check_equal([loaded(t)["input_ids"] for t in strings(data)], expected, data)
    check_equal(Tool(tmp_path).encode(data), expected, data)
    assert loaded.eos_token_id == 2 and loaded.bos_token_id == 1
    info = Tool(tmp_path).ask(op="info")
    assert info == {"bos": 1, "eos": [2, 0], "has_chat_template": True, "vocab_size": 49152}


def test_transformers_reads_the_same_gguf(smollm2):
    oracle = transformers.AutoTokenizer.from_pretrained(smollm2.parent, gguf_file=smollm2.name)
    plain = [t for t in SCRIPTS + [CODE] if not any(c.isnumeric() for c in t)]  # it ignores `pre`
    check_equal(Tool(smollm2).encode([t.encode() for t in plain]), [oracle(t)["input_ids"] for t in plain],
                [t.encode() for t in plain])


def llama2c_oracle(model):
    """The SentencePiece model with the options that llama2.c's own encoder has."""
    proto = sentencepiece_model_pb2.ModelProto.FromString(model.read_bytes())
    proto.normalizer_spec.remove_extra_whitespaces = False
    return sentencepiece.SentencePieceProcessor(model_proto=proto.SerializeToString())


@pytest.mark.parametrize("folder, model, vocabulary", [
    ("stories260K", "stories260K.bin", "tok512.model"), ("babyllama105", "model5000.bin", "tok105.model")])
def test_llama2c(folder, model, vocabulary):
    directory = DATA / "models" / folder
    data = everything()
    oracle = llama2c_oracle(directory / vocabulary)
    check_equal(Tool(directory / model).encode(data, add_special=False),
                [oracle.encode(t) for t in strings(data)], data)
    real = sentencepiece.SentencePieceProcessor(model_file=str(directory / vocabulary))
    check_equal(Tool(directory / vocabulary).encode(data, add_special=False),
                [real.encode(t) for t in strings(data)], data)


# --- SentencePiece -----------------------------------------------------------------------------------

SENTENCEPIECE = {
    "llama": dict(), "no-fallback": dict(byte_fallback=False), "no-prefix": dict(add_dummy_prefix=False),
    "squeeze": dict(remove_extra_whitespaces=True), "squeeze-no-prefix": dict(remove_extra_whitespaces=True,
                                                                             add_dummy_prefix=False),
    "user-defined": dict(user_defined_symbols=["<sep>", "\n", "▁▁", "▁▁▁▁", "quick", "ab"]),
    "user-defined-no-prefix": dict(user_defined_symbols=["<sep>", "\n", "\n\n", "▁▁", "▁▁▁"], add_dummy_prefix=False),
    "across-spaces": dict(split_by_whitespace=False, vocab_size=1500),
}


@pytest.mark.parametrize("options", SENTENCEPIECE.values(), ids=SENTENCEPIECE.keys())
def test_sentencepiece(options, tmp_path):
    model = train_sentencepiece(**options)
    (tmp_path / "tokenizer.model").write_bytes(model)
    oracle = sentencepiece.SentencePieceProcessor(model_proto=model)
    data = everything() + [b"a<sep>b<sep><sep> c", b"the quickest quick abab aab", b"x\n\n\ny", b"<sep>"]
    tool = Tool(tmp_path)
    check_equal(tool.encode(data, add_special=False), [oracle.encode(t) for t in strings(data)], data)
    check_equal(tool.encode(data[:50]), [oracle.encode(t, add_bos=True) for t in strings(data[:50])], data[:50])
    for text in SCRIPTS:
        ids = oracle.encode(text)
        assert tool.ask(op="decode", ids=ids)["text"].replace(" ⁇ ", "") == oracle.decode(ids).replace(" ⁇ ", "")


@pytest.mark.parametrize("name", ["llama", "no-prefix", "no-fallback", "user-defined-no-prefix", "squeeze"])
def test_files_for_transformers(name, tmp_path):
    """tokenizer.json made from a SentencePiece vocabulary tokenizes as the vocabulary itself."""
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    target.mkdir()
    (source / "tokenizer.model").write_bytes(train_sentencepiece(**SENTENCEPIECE[name]))
    tool = Tool(source / "tokenizer.model")
    assert tool.ask(op="write_files", directory=str(target)) == {}
    (target / "tokenizer.model").unlink()  # transformers must use tokenizer.json
    loaded = transformers.AutoTokenizer.from_pretrained(target)
    data = everything() + [b"<s>a</s>b", b"x\n\n\ny<sep>"]
    ours = tool.encode(data)
    check_equal(ours, [loaded(t)["input_ids"] for t in strings(data)], data)
    check_equal(Tool(target).encode(data), ours, data)
    check_decode(loaded, tool, ours[:300])


# --- GGUF --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["gpt2", "llama3", "qwen2", "neox", "smollm", "llama2", "gemma-no-runs"])
def test_gguf_round_trip(name, tmp_path):
    oracle = FAMILIES[name.removesuffix("-no-runs")]()
    if name == "gemma-no-runs":  # GGUF finds runs of spaces before merging, tokenizer.json after it
        parsed = json.loads(oracle.to_str())
        parsed["added_tokens"] = [t for t in parsed["added_tokens"] if not t["content"].startswith("▁")]
        oracle = Tokenizer.from_str(json.dumps(parsed))
    named = {"bos_token": "<s>", "eos_token": "</s>"} if name in ("llama2", "gemma-no-runs") else {}
    tool = Tool(save(oracle, tmp_path / "source", **named))
    if name == "llama3":
        config = dict(bos_token="<|begin_of_text|>", eos_token="<|eot_id|>")
        save(oracle, tmp_path / "source", **config)
    file = tmp_path / "vocab.gguf"
    assert tool.ask(op="write_gguf", file=str(file), vocab_size=1700 if name != "gpt2" else 0) == {}
    data = hard_corpus()
    check_equal(Tool(file).encode(data, add_special=False), tool.encode(data, add_special=False), data)
    check_equal(Tool(file).encode(data[:20]), tool.encode(data[:20]), data[:20])
    tokens = gguf.GGUFReader(file).fields["tokenizer.ggml.tokens"].data
    assert len(tokens) == max(1700 if name != "gpt2" else 0, oracle.get_vocab_size())


# --- Behaviour of the rest ---------------------------------------------------------------------------


def test_long_runs_are_not_quadratic(tmp_path, smollm2):
    """A megabyte without a word boundary: at most a few times as long per byte as ordinary text."""
    names = {"a": "a" * 1_000_000, "spaces": " " * 1_000_000, "chinese": "你好世界" * 80_000,
             "signs": "!?" * 500_000, "newlines": "\n" * 1_000_000}
    sources = [smollm2, DATA / "models" / "stories260K" / "stories260K.bin"]
    for name, text in names.items():
        file = tmp_path / name
        file.write_text(text)
        for source in sources:
            assert Tool(source).ask(op="time", file=str(file))["cpu_seconds"] < 2, (name, source)


def test_eos_of_generation_config(tmp_path):
    tool = Tool(save(FAMILIES["llama3"](), tmp_path, bos_token="<|begin_of_text|>", eos_token="<|eot_id|>"))
    ids = {t: FAMILIES["llama3"]().token_to_id(t) for t in ("<|begin_of_text|>", "<|eot_id|>", "<|end_of_text|>")}
    (tmp_path / "generation_config.json").write_text(
        json.dumps({"eos_token_id": [ids["<|end_of_text|>"], ids["<|eot_id|>"]]}))
    info = tool.ask(op="info")
    assert info["bos"] == ids["<|begin_of_text|>"]
    assert info["eos"] == [ids["<|eot_id|>"], ids["<|end_of_text|>"]]


FRAME_FLAGS = [{"add_bos_token": False}, {"add_bos_token": True, "add_eos_token": True}, {}]


@pytest.mark.parametrize("flags", FRAME_FLAGS)
def test_the_post_processor_of_tokenizer_json_decides(flags, tmp_path):
    directory = save(FAMILIES["llama2"](), tmp_path, bos_token="<s>", eos_token="</s>", **flags)
    loaded = transformers.AutoTokenizer.from_pretrained(directory)
    assert Tool(directory).encode([b"one two"]) == [loaded("one two")["input_ids"]]


def test_frame_flags_beside_a_sentencepiece_model(tmp_path):
    model = train_sentencepiece()
    (tmp_path / "tokenizer.model").write_bytes(model)
    oracle = sentencepiece.SentencePieceProcessor(model_proto=model)
    for flags in FRAME_FLAGS[:2]:
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(flags))
        expected = oracle.encode("one two", add_bos=flags["add_bos_token"], add_eos="add_eos_token" in flags)
        assert Tool(tmp_path).encode([b"one two"]) == [expected]


def test_vocab_and_merges(tmp_path):
    oracle = gpt2()
    (tmp_path / "plain").mkdir()
    oracle.model.save(str(tmp_path / "plain"))
    data = everything()
    check_equal(Tool(tmp_path / "plain").encode(data), [e.ids for e in oracle.encode_batch(strings(data))], data)
