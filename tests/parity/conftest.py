"""What all comparisons with other programs share: the rondo binary, models and texts.

Nothing here skips: a missing binary, model or oracle is a failure, since a test that did not run shows
nothing.
"""

import json
import lzma
import os
import pathlib
import subprocess

import pytest

# numpy's decompositions of small matrices are many times slower on several threads that wait for each
# other. Set before anything imports numpy; rondo itself sets its own threads.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("RONDO_BUILD", ROOT / "build" / "release"))
DATA = ROOT / "tests" / "data"


class Rondo:
    """Runs the command line. `json(...)` returns the parsed object of --json."""

    def __init__(self, binary: pathlib.Path):
        assert binary.exists(), f"{binary} is missing: run `make build`"
        self.binary = binary

    def run(self, *arguments, check=True, **options):
        command = [str(self.binary), *map(str, arguments)]
        result = subprocess.run(command, capture_output=True, text=True, timeout=900, **options)
        if check:
            assert result.returncode == 0, f"{' '.join(command)}\n{result.stderr}"
        return result

    def json(self, *arguments):
        return json.loads(self.run(*arguments, "--json", "--quiet").stdout)


@pytest.fixture(scope="session")
def rondo():
    return Rondo(BUILD / "bin" / "rondo")


def _real_model(name):
    path = ROOT / "models" / f"{name}.gguf"
    assert path.exists(), f"{path} is missing: run `scripts/get_model.sh {name}`"
    return path


@pytest.fixture(scope="session")
def smollm2():
    """SmolLM2-135M-Instruct as GGUF (Q4_1)."""
    return _real_model("smollm2")


@pytest.fixture(scope="session")
def gemma3():
    """Gemma 3 270M as GGUF (Q4_K_M)."""
    return _real_model("gemma3")


@pytest.fixture(scope="session")
def wikitext(tmp_path_factory):
    """WikiText-2 raw, validation split, as a text file."""
    path = tmp_path_factory.mktemp("text") / "wikitext2-valid.txt"
    path.write_bytes(lzma.open(DATA / "wikitext-2" / "valid.raw.xz").read())
    return path


@pytest.fixture(scope="session")
def stories():
    """stories260K, a llama2.c file with its tokenizer beside it."""
    return DATA / "models" / "stories260K" / "stories260K.bin"
