"""Packed documents against transformers' tokens of the same text, cut and compressed by Python."""

import json
import lzma
import re
import subprocess

import pytest
import transformers
import zstandard
from conftest import BUILD, DATA
from test_tokenizers import Tool
from tokenizer_models import gpt2, save


def pack(model, cache, files, **options):
    binary = BUILD / "bin" / "corpus_tool"
    assert binary.exists(), f"{binary} is missing: run `make build`"
    request = json.dumps({"files": [str(f) for f in files], **options})
    result = subprocess.run([binary, model, cache, request], capture_output=True, timeout=600, check=True)
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def text():
    return lzma.open(DATA / "enwiki" / "excerpt.txt.xz", "rt", encoding="utf-8").read()


@pytest.fixture(scope="module")
def articles(text):
    """Each article with its heading, without the blank lines behind it."""
    return [a.strip("\n") for a in re.split(r"(?m)^(?== .* =$)", text) if a.strip()]


@pytest.fixture(scope="module", params=["gpt2", "smollm2"])
def model(request, tmp_path_factory):
    """A tokenizer for rondo and the same in transformers."""
    directory = tmp_path_factory.mktemp(request.param)
    if request.param == "gpt2":
        save(gpt2(), directory)
        oracle = transformers.PreTrainedTokenizerFast(tokenizer_object=gpt2(), eos_token="<|endoftext|>",
                                                      bos_token="<|endoftext|>")
        (directory / "tokenizer_config.json").write_text(
            json.dumps({"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"}))
        return directory, oracle
    gguf = request.getfixturevalue("smollm2")
    assert Tool(gguf).ask(op="write_files", directory=str(directory)) == {}
    return gguf, transformers.AutoTokenizer.from_pretrained(directory)


def test_articles_are_those_of_transformers(model, articles, text, tmp_path):
    tokenizer, oracle = model
    expected = [ids + [oracle.eos_token_id] for ids in oracle(articles)["input_ids"]]
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    (tmp_path / "b.txt.xz").write_bytes(lzma.compress(text.encode()))
    (tmp_path / "c.txt.zst").write_bytes(zstandard.ZstdCompressor().compress(text.encode()))
    for name in ["a.txt", "b.txt.xz", "c.txt.zst"]:
        assert pack(tokenizer, tmp_path / "cache", [tmp_path / name], unit="heading")["train"] == expected, name


def test_records_are_those_of_transformers(model, articles, tmp_path):
    tokenizer, oracle = model
    lines = "".join(json.dumps({"id": i, "body": a}, ensure_ascii=i % 2 == 0) + "\n" for i, a in enumerate(articles))
    with zstandard.open(tmp_path / "a.jsonl.zst", "wt", encoding="utf-8") as file:
        file.write(lines)
    (tmp_path / "b.jsonl.xz").write_bytes(lzma.compress(lines.encode()))
    expected = oracle(articles)["input_ids"]
    for name in ["a.jsonl.zst", "b.jsonl.xz"]:
        answer = pack(tokenizer, tmp_path / "cache", [tmp_path / name], field="body", append_eos=False)
        assert answer["train"] == expected, name


@pytest.mark.parametrize("unit, cut", [
    ("line", lambda text: [line for line in text.split("\n") if line.strip()]),
    ("paragraph", lambda text: [p.strip("\n") for p in re.split(r"\n(?:[ \t]*\n)+", text) if p.strip()]),
    ("file", lambda text: [text]),
])
def test_units_are_those_of_python(model, text, unit, cut, tmp_path):
    tokenizer, oracle = model
    text = text[:100_000]
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    answer = pack(tokenizer, tmp_path / "cache", [tmp_path / "a.txt"], unit=unit, append_eos=False, threads=2)
    assert answer["train"] == oracle(cut(text))["input_ids"]


def test_special_tokens_in_text_are_text_unless_asked_for(model, tmp_path):
    tokenizer, oracle = model
    line = "one<|endoftext|>two"
    (tmp_path / "a.txt").write_text(line)
    for parse in (False, True):
        answer = pack(tokenizer, tmp_path / "cache", [tmp_path / "a.txt"], append_eos=False, parse_special=parse)
        assert answer["train"] == [oracle(line, split_special_tokens=not parse)["input_ids"]]


def test_a_split_keeps_every_document_once(model, articles, text, tmp_path):
    tokenizer, oracle = model
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    answer = pack(tokenizer, tmp_path / "cache", [tmp_path / "a.txt"], unit="heading", append_eos=False,
                  held_out_documents=9)
    expected = oracle(articles)["input_ids"]
    assert len(answer["held_out"]) == 9
    assert sorted(answer["held_out"] + answer["train"]) == sorted(expected)
    assert [d for d in expected if d in answer["train"]] == answer["train"]  # in their order


def test_a_shard_serves_gguf_and_directory_alike(smollm2, text, tmp_path):
    directory = tmp_path / "tokenizer"
    directory.mkdir()
    assert Tool(smollm2).ask(op="write_files", directory=str(directory)) == {}
    (tmp_path / "a.txt").write_text(text[:20_000], encoding="utf-8")
    one = pack(smollm2, tmp_path / "cache", [tmp_path / "a.txt"])
    assert pack(directory, tmp_path / "cache", [tmp_path / "a.txt"]) == one
    assert len(list((tmp_path / "cache").glob("*.tokens"))) == 1


@pytest.mark.parametrize("name, content, message", [
    ("a.txt.xz", lzma.compress(b"text " * 1000)[:-20], "ends too early"),
    ("a.txt.zst", zstandard.compress(b"text " * 1000)[:-3], "ends too early"),
    ("a.txt.xz", b"plain text, long enough for a header", "not an xz file"),
    ("a.txt.zst", b"plain text, long enough for a header", "not a zstd file"),
    ("a.jsonl.xz", lzma.compress(b'{"text": "a"}\n{"txt": "b"}\n'), "line 2: text: missing"),
    ("a.txt", "naïve".encode("latin-1"), "line 1: not UTF-8"),
    ("a.txt", b"", "no document"),
])
def test_bad_files_are_named(stories, name, content, message, tmp_path):
    (tmp_path / name).write_bytes(content)
    error = pack(stories, tmp_path / "cache", [tmp_path / name])["error"]
    assert name in error and message in error
    assert not list((tmp_path / "cache").glob("*.tokens"))
