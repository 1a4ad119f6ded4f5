"""What recipes that train small models from random weights have in common: recipes as TOML, tokenizers, calls of rondo."""

import json
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[1]
BIN = ROOT / "build" / "release" / "bin"


def rondo(binaries: pathlib.Path, *arguments) -> dict:
    """Runs one rondo command with --json; stops with its message if it fails."""
    command = [str(binaries / "rondo"), *map(str, arguments), "--json", "--quiet", "--threads", "1"]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}\n{result.stderr}")
    return json.loads(result.stdout)


def toml(sections: dict, stages: list[dict] = ()) -> str:
    """A recipe of rondo train; numbers, strings and lists are written in JSON as in TOML."""
    def values(section):
        return [f"{key} = {json.dumps(value)}" for key, value in section.items() if not isinstance(value, dict)]
    lines = values(sections)
    for name, section in sections.items():
        if isinstance(section, dict):
            lines += [f"[{name}]"] + values(section)
    for stage in stages:
        lines += ["[[stages]]"] + values(stage)
    return "\n".join(lines) + "\n"


def train_tokenizer(documents: list[str], vocab: int, path: pathlib.Path) -> None:
    """A byte-level BPE of the documents, as tokenizer.json at `path`."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=vocab, special_tokens=["<|endoftext|>"],
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    tokenizer.train_from_iterator(documents, trainer)
    path.parent.mkdir(parents=True, exist_ok=True)
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|endoftext|>"}
    (path.parent / "tokenizer_config.json").write_text(json.dumps(config))
    tokenizer.save(str(path))
