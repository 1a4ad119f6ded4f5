"""Vocabularies as people have them: tokens in files beside, files that do not say how, the same text twice."""

import bz2
import gzip
import json
import lzma
import re
import subprocess

import gguf
import pytest
import sentencepiece
import transformers
from conftest import BUILD, DATA
from test_tokenizers import Tool, check_equal, strings
from text_corpus import SCRIPTS, everything
from tokenizer_models import FAMILIES, gpt2, llama3, qwen2, save, smollm, special, train_sentencepiece
from tokenizers import AddedToken, Tokenizer

CHAT = ["<|im_start|>user\nIs it far?<|im_end|>\n", "a <pad> b", "a<|im_start|>b <|im_end|>c", "<pad><pad> x",
        "no tokens here", "<|im_start|>", "x  <|im_end|>  y"]


def write(folder, **files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize("flags", [{"legacy": True}, {"legacy": False}, {}, {"add_prefix_space": False}], ids=str)
@pytest.mark.parametrize("place", ["added_tokens.json", "added_tokens_decoder"])
def test_added_tokens_beside_sentencepiece(flags, place, tmp_path):
    model = train_sentencepiece()
    count = sentencepiece.SentencePieceProcessor(model_proto=model).vocab_size()
    tokens = {"<|im_start|>": count, "<|im_end|>": count + 1, "<pad>": count + 2}
    names = {"bos_token": "<s>", "eos_token": "<|im_end|>", "unk_token": "<unk>", "pad_token": "<pad>"}
    config = {"tokenizer_class": "LlamaTokenizer", "add_bos_token": True, **names, **flags}
    if place == "added_tokens.json":
        write(tmp_path, added_tokens=tokens, special_tokens_map=names)
    else:
        config["added_tokens_decoder"] = {str(i): {"content": t, "special": t != "<|im_start|>", "lstrip": False,
                                                   "rstrip": False, "single_word": False, "normalized": False}
                                          for t, i in tokens.items()}
    write(tmp_path, tokenizer_config=config, config={"model_type": "llama"})
    (tmp_path / "tokenizer.model").write_bytes(model)
    loaded = transformers.AutoTokenizer.from_pretrained(tmp_path)
    data = [t.encode() for t in CHAT + SCRIPTS]
    tool = Tool(tmp_path)
    ours = tool.encode(data)
    check_equal(ours, [loaded(t)["input_ids"] for t in strings(data)], data)
    assert tool.ask(op="info")["eos"] == [count + 1]
    # Copies for other programs know the tokens too.
    copies = tmp_path / "copies"
    copies.mkdir()
    assert tool.ask(op="write_files", directory=str(copies)) == {}
    check_equal(Tool(copies).encode(data), ours, data)
    assert tool.ask(op="write_gguf", file=str(copies / "vocab.gguf"), vocab_size=count + 3) == {}
    assert Tool(copies / "vocab.gguf").encode([b"<|im_end|>"], add_special=False)[0][-1] == count + 1


@pytest.mark.parametrize("name", ["Qwen2Tokenizer", "GPT2Tokenizer"])
def test_added_tokens_beside_vocab_json(name, tmp_path):
    """The class says how text is cut; added_tokens.json which tokens there are besides."""
    oracle = {"Qwen2Tokenizer": qwen2, "GPT2Tokenizer": gpt2}[name]()
    parsed = json.loads(oracle.to_str())
    added = {t["content"]: t["id"] for t in parsed["added_tokens"]}
    vocab = {t: i for t, i in parsed["model"]["vocab"].items() if t not in added}
    top = max(vocab.values()) + 1
    added = {t: top + i for i, t in enumerate(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])}
    write(tmp_path, vocab=vocab, added_tokens=added, config={"model_type": "qwen2"},
          tokenizer_config={"tokenizer_class": name, "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>",
                            "bos_token": None, "unk_token": None})
    (tmp_path / "merges.txt").write_text("#version: 0.2\n" + "\n".join(" ".join(m) for m in parsed["model"]["merges"]))
    parsed["model"]["vocab"] = vocab
    parsed["added_tokens"] = []
    oracle = Tokenizer.from_str(json.dumps(parsed))
    oracle.add_special_tokens([special("<|endoftext|>")])
    oracle.add_tokens([AddedToken("<|im_start|>", normalized=True)])
    oracle.add_special_tokens([special("<|im_end|>")])
    data = [t.encode() for t in CHAT] + everything()
    check_equal(Tool(tmp_path).encode(data), [e.ids for e in oracle.encode_batch(strings(data))], data)


def without_pre(path, oracle, pre=None, architecture="llama"):
    """The vocabulary as GGUF, as early converters wrote it."""
    parsed = json.loads(oracle.to_str())
    names = {i: t for t, i in parsed["model"]["vocab"].items()}
    types = {t["id"]: 3 if t["special"] else 4 for t in parsed["added_tokens"]}
    names.update({t["id"]: t["content"] for t in parsed["added_tokens"]})
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_tokenizer_model("gpt2")
    if pre is not None:
        writer.add_tokenizer_pre(pre)
    writer.add_token_list([names[i] for i in range(len(names))])
    writer.add_token_types([types.get(i, 1) for i in range(len(names))])
    writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in parsed["model"]["merges"]])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return path


def words_of(tool):
    """What the program says besides its answers."""
    return subprocess.run([tool.binary, tool.model], input=b"", capture_output=True, check=True).stderr.decode()


@pytest.mark.parametrize("pre", [None, "default"])
@pytest.mark.parametrize("name", ["llama3", "qwen2", "smollm", "gpt2", "neox"])
def test_gguf_that_does_not_name_its_pre_tokenizer(name, pre, tmp_path):
    oracle = FAMILIES[name]()
    architecture = {"gpt2": "gpt2", "neox": "gptneox"}.get(name, "llama")
    if name == "smollm":
        oracle.add_special_tokens([special(t) for t in ("<|im_start|>", "<|im_end|>", "<gh_stars>")])
    if name == "qwen2":
        oracle.add_special_tokens([special(t) for t in ("<|endoftext|>", "<|im_start|>", "<|im_end|>")])
    tool = Tool(without_pre(tmp_path / "m.gguf", oracle, pre, architecture))
    data = everything()
    expected = [e.ids for e in oracle.encode_batch(strings(data), add_special_tokens=False)]
    check_equal(tool.encode(data, add_special=False), expected, data)
    assert "tokenizer.ggml.pre" in words_of(tool) and "WARNING" not in words_of(tool)


def test_gguf_that_nothing_is_known_about(tmp_path):
    tool = Tool(without_pre(tmp_path / "m.gguf", FAMILIES["gpt4o"]()))
    assert "WARNING" in words_of(tool) and "--pre-tokenizer" in words_of(tool)
    whole = Tool(without_pre(tmp_path / "whole.gguf", gpt2()))
    assert "vocabulary says gpt-2" in words_of(whole)
    named = Tool(without_pre(tmp_path / "named.gguf", gpt2(), "gpt-2"))
    assert words_of(named) == ""
    result = subprocess.run([BUILD / "bin" / "tokenize_tool", without_pre(tmp_path / "odd.gguf", gpt2(), "odd")],
                            capture_output=True, input=b"")
    assert result.returncode == 1 and b"llama-bpe" in result.stderr and b"'odd'" in result.stderr


def test_the_same_text_twice(tmp_path):
    """An id that repeats another's text is never the result of encoding, but decodes."""
    oracle = gpt2()
    parsed = json.loads(oracle.to_str())
    file = without_pre(tmp_path / "plain.gguf", oracle, "gpt-2")
    tokens = gguf.GGUFReader(file).fields["tokenizer.ggml.tokens"].contents()
    writer = gguf.GGUFWriter(tmp_path / "twice.gguf", "llama")
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([*tokens, tokens[400]])
    writer.add_token_types([1] * (len(tokens) + 1))
    writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in parsed["model"]["merges"]])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    twice = Tool(tmp_path / "twice.gguf")
    data = everything()
    assert twice.encode(data, parse_special=False) == Tool(file).encode(data, parse_special=False)
    answers = twice.run([dict(op="decode", ids=[400]), dict(op="decode", ids=[len(tokens)])])
    assert answers[0]["text"] == answers[1]["text"] != ""
    copies = tmp_path / "copies"
    copies.mkdir()
    assert twice.ask(op="write_files", directory=str(copies)) == {}
    assert Tool(copies).encode(data[:50]) == twice.encode(data[:50])


@pytest.mark.parametrize("name", ["llama2", "metaspace-first", "metaspace-always", "gemma", "gpt2", "bert"])
def test_text_goes_on_behind_earlier_tokens(name, tmp_path):
    """What follows a prompt is what decoding both has behind the prompt."""
    oracle = FAMILIES[name]()
    tool = Tool(save(oracle, tmp_path))
    for prompt, more in [("Lily", " and Tom"), ("Lily and", " Tom"), ("", "Once"), ("One.", "\nTwo"), ("a  ", " b"),
                         ("Hi é", "é!")]:
        before = oracle.encode(prompt, add_special_tokens=False).ids
        ids = oracle.encode(prompt + more, add_special_tokens=False).ids
        if ids[: len(before)] != before:
            ids = before + oracle.encode(more, add_special_tokens=False).ids
        answer = tool.ask(op="decode", ids=ids[len(before):], before=before)
        assert oracle.decode(before) + "".join(answer["stream"]) == oracle.decode(ids), (prompt, more)


NULLS = ["bos_token", "eos_token", "unk_token", "pad_token", "chat_template", "added_tokens_decoder", "add_bos_token",
         "add_eos_token", "additional_special_tokens", "extra_special_tokens", "tokenizer_class", "add_prefix_space",
         "legacy"]


@pytest.mark.parametrize("kind", ["tokenizer.json", "tokenizer.model", "vocab.json"])
def test_null_is_as_good_as_absent(kind, tmp_path):
    (tmp_path / "with").mkdir()
    (tmp_path / "without").mkdir()
    for folder in (tmp_path / "with", tmp_path / "without"):
        if kind == "tokenizer.json":
            parsed = json.loads(llama3().to_str())
            for key in ("normalizer", "truncation", "padding", "decoder", "post_processor", "added_tokens"):
                if folder.name == "with":
                    parsed[key] = None
                else:
                    parsed.pop(key)
            parsed["model"].update(dict.fromkeys(("dropout", "unk_token", "continuing_subword_prefix",
                                                  "end_of_word_suffix", "fuse_unk", "byte_fallback")))
            (folder / "tokenizer.json").write_text(json.dumps(parsed))
        elif kind == "tokenizer.model":
            (folder / "tokenizer.model").write_bytes(train_sentencepiece())
        else:
            gpt2().model.save(str(folder))
        if folder.name == "with":
            write(folder, tokenizer_config={k: None for k in NULLS}, special_tokens_map={k: None for k in NULLS[:4]},
                  generation_config={"eos_token_id": None, "bos_token_id": None}, config={"eos_token_id": None})
    ours = [Tool(tmp_path / n).run([dict(op="encode", hex=t.encode().hex()) for t in SCRIPTS] + [dict(op="info")])
            for n in ("with", "without")]
    assert ours[0] == ours[1]


def test_unigram_sentencepiece(tmp_path):
    settings = {"plain": {}, "bytes": dict(byte_fallback=False),
                "defined": dict(user_defined_symbols=["<sep>", "abab"])}
    for name, options in settings.items():
        model = train_sentencepiece(model_type="unigram", vocab_size=650, hard_vocab_limit=False, **options)
        (tmp_path / name).mkdir()
        (tmp_path / name / "tokenizer.model").write_bytes(model)
        oracle = sentencepiece.SentencePieceProcessor(model_proto=model)
        # SentencePiece adds in single precision, and cuts runs of one character elsewhere where the sums are equal.
        data = [t for t in everything() if not re.search(r"(..?)\1\1", t.decode(errors="replace"), re.DOTALL)]
        data += [b"a<sep>b abab ab<sep>"]
        tool = Tool(tmp_path / name)
        check_equal(tool.encode(data, add_special=False), [oracle.encode(t) for t in strings(data)], data)
        copies = tmp_path / (name + "-copies")
        copies.mkdir()
        assert tool.ask(op="write_files", directory=str(copies)) == {}
        check_equal(Tool(copies).encode(data[:80]), tool.encode(data[:80]), data[:80])


def test_refusals_list_what_is_known(tmp_path):
    parsed = json.loads(gpt2().to_str())
    for key, known in {"normalizer": "Lowercase", "pre_tokenizer": "WhitespaceSplit", "decoder": "WordPiece",
                       "post_processor": "TemplateProcessing"}.items():
        (tmp_path / "tokenizer.json").write_text(json.dumps({**parsed, key: {"type": "Mystery"}}))
        result = subprocess.run([BUILD / "bin" / "tokenize_tool", tmp_path], capture_output=True, input=b"")
        assert result.returncode == 1 and b"Mystery" in result.stderr and known.encode() in result.stderr


def test_generate_keeps_the_space_behind_the_prompt():
    model = DATA / "models" / "stories260K" / "stories260K.bin"
    command = [BUILD / "bin" / "rondo", "generate", model, "-p", "Lily", "-n", "4"]
    said = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    told = json.loads(subprocess.run([*command, "--json"], capture_output=True, check=True, text=True).stdout)
    assert said.startswith("Lily and") and told["text"].startswith(" and")


def test_what_is_written_without_a_tokenizer_says_so(tmp_path):
    torch = pytest.importorskip("torch")
    torch.manual_seed(1)
    config = transformers.LlamaConfig(vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
                                      num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=64)
    transformers.LlamaForCausalLM(config).save_pretrained(tmp_path / "m")
    for args in (["fold", tmp_path / "m", "--out", tmp_path / "f", "--rank", "2"],
                 ["export", tmp_path / "m", "--format", "gguf", "--out", tmp_path / "e.gguf"],
                 ["quantize", tmp_path / "m", "--type", "q8_0", "--out", tmp_path / "q.gguf"]):
        result = subprocess.run([BUILD / "bin" / "rondo", *args], capture_output=True, text=True)
        assert result.returncode == 0, result.stderr
        assert "no tokenizer" in result.stderr


TEXT = "The kettle sang while the rain kept time.\nCaf\u00e9 na\u00efve, 12 apples.\n" * 4


@pytest.mark.parametrize("name,data,refusal", [
    ("bom", b"\xef\xbb\xbf" + TEXT.encode(), None), ("utf16", TEXT.encode("utf-16"), "UTF-16"),
    ("gz", gzip.compress(TEXT.encode()), None), ("bz2", bz2.compress(TEXT.encode()), None),
    ("xz", lzma.compress(TEXT.encode()), None), ("latin1", TEXT.encode("latin-1"), "0xE9"),
    ("badbyte", TEXT.encode()[:20] + b"\xff" + TEXT.encode()[20:], "0xFF"), ("zip", b"PK\x03\x04\x14", "zip"),
    ("utf16-unmarked", TEXT.encode("utf-16-le"), "UTF-16")], ids=lambda v: v if isinstance(v, str) else "")
def test_texts_of_every_encoding(name, data, refusal, tmp_path):
    """Every place that takes a text reads it, or refuses it by name."""
    model = DATA / "models" / "stories260K" / "stories260K.bin"
    text, plain = tmp_path / "text", tmp_path / "plain"
    text.write_bytes(data)
    plain.write_text(("\ufeff" if name == "bom" else "") + TEXT)
    commands = {"eval": ["eval", model, "--text", text, "--context", "64", "--json"],
                "compare": ["compare", model, model, "--text", text, "--context", "64", "--json"],
                "generate": ["generate", model, "--prompt-file", text, "-n", "2"],
                "fold": ["fold", model, "--out", tmp_path / "f", "--rank", "2", "--calibrate", text,
                         "--calibrate-context", "64"],
                "quantize": ["quantize", model, "--type", "q8_0", "--out", tmp_path / "q.gguf", "--calibrate", text]}
    for command, args in commands.items():
        result = subprocess.run([BUILD / "bin" / "rondo", *args, "--quiet"], capture_output=True, text=True)
        if refusal is None:
            assert result.returncode == 0, (command, result.stderr)
        else:
            assert result.returncode == 1, command
            assert refusal in result.stderr and "UTF-8" in result.stderr, (command, result.stderr)
        if command == "eval" and refusal is None:
            args[3] = plain
            other = subprocess.run([BUILD / "bin" / "rondo", *args, "--quiet"], capture_output=True, text=True)
            assert json.loads(other.stdout)["perplexity"] == json.loads(result.stdout)["perplexity"]
