"""Commands that write, killed at random moments and on disks that are full.

After either, what stood at the output before is there, whole and unchanged, or the whole new output is; the next run
to the same place leaves nothing of a killed one. rondo-train's own such tests are in test_training.py.
"""

import dataclasses
import os
import random
import resource
import shutil
import signal
import subprocess
import time

import pytest
from conftest import DATA

pytestmark = pytest.mark.slow

TEXT = DATA / "enwiki" / "excerpt.txt.xz"
KILLS = 6


@dataclasses.dataclass(frozen=True)
class Command:
    """What writes: `words` of the command line, {model}, {folded}, {run} and {text} replaced; `out` is its flag."""

    name: str
    words: str
    out: str = "--out"
    file: str = "output"
    also: str = "output"  # in the name of what else it writes


COMMANDS = [
    Command("fold", "fold {model} --loops 5 --rank 4"),
    Command("fold-calibrated", "fold {model} --loops 5 --rank 2 --calibrate {text} --calibrate-tokens 512"),
    Command("fold-suggest", "fold {model} --suggest --rank 4 --calibrate {text} --calibrate-tokens 512"),
    Command("quantize", "quantize {model} --type q8_0", file="output.gguf"),
    Command("quantize-evaluate", "quantize {model} --type q8_0 --out {scratch} --force --evaluate {text} "
            "--evaluate-tokens 256 --evaluate-context 128", out="--svg", file="output.svg",
            also="scratch.gguf"),
    Command("export-hf", "export {folded} --format hf"),
    Command("export-gguf", "export {folded} --format gguf", file="output.gguf"),
    Command("export-native", "export {folded} --format native"),
    Command("fit-gate", "calibrate-exit {folded} --text {text} --context 64 --max-tokens 512", out="--fit-gate"),
    Command("exit-svg", "calibrate-exit {folded} --text {text} --context 64 --max-tokens 256", out="--svg",
            file="output.svg"),
    Command("report", "report {run}", file="output.html"),
]


@pytest.fixture(scope="module")
def inputs(rondo, stories, tmp_path_factory):
    root = tmp_path_factory.mktemp("inputs")
    rondo.run("fold", stories, "--out", root / "folded", "--loops", "5", "--order", "cycle", "--rank", "4")
    (root / "run").mkdir()
    lines = [f'{{"step": {s}, "tokens": {s}, "seconds": {s}, "loss": 1, "lr": 1}}' for s in range(1, 20000)]
    (root / "run" / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    return {"model": stories, "folded": root / "folded", "run": root / "run", "text": TEXT,
            "scratch": root / "scratch.gguf"}


@pytest.fixture(params=COMMANDS, ids=lambda command: command.name)
def writer(request, rondo, inputs, tmp_path):
    return Writer(request.param, rondo, inputs, tmp_path / "place")


class Writer:
    """One command and the only folder that it writes to."""

    def __init__(self, command, rondo, inputs, place):
        words = [word.format(**inputs) for word in command.words.split()]
        place.mkdir()
        self.place, self.out, self.also = place, place / command.file, command.also
        self.command = [str(rondo.binary), *words, command.out, str(self.out), "--threads", "1", "--quiet"]

    def run(self, **options):
        return subprocess.run(self.command, capture_output=True, text=True, timeout=300, **options)

    def write(self):
        result = self.run()
        assert result.returncode == 0, result.stderr
        return self.state()

    def state(self):
        """Every file of the output with its bytes."""
        assert self.out.exists()
        paths = [self.out] if self.out.is_file() else sorted(p for p in self.out.rglob("*") if p.is_file())
        return {str(path.relative_to(self.place)): path.read_bytes() for path in paths}

    def beside(self):
        return [name for name in os.listdir(self.place) if name != self.out.name]

    def kill_after(self, seconds):
        process = subprocess.Popen(self.command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        time.sleep(seconds)
        process.kill()
        _, errors = process.communicate(timeout=60)
        assert process.returncode in (0, -signal.SIGKILL), errors


def test_a_kill_leaves_the_old_output_or_the_new_one(writer):
    begin = time.monotonic()
    whole = writer.write()
    seconds = time.monotonic() - begin
    moments = random.Random(1)
    for _ in range(KILLS):
        writer.kill_after(moments.uniform(0, seconds))
        assert writer.state() == whole
    shutil.rmtree(writer.out, ignore_errors=True)
    writer.out.unlink(missing_ok=True)
    for _ in range(KILLS):
        writer.kill_after(moments.uniform(0, seconds))
        if writer.out.exists():
            assert writer.state() == whole
    assert writer.write() == whole
    assert writer.beside() == []


@pytest.mark.parametrize("share", [0.0, 0.5, 0.999])
def test_a_full_disk_is_an_error_that_names_the_output(writer, share):
    """Files may not grow beyond a share of the largest one of the output."""
    whole = writer.write()
    size = int(share * max(map(len, whole.values())))

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    result = writer.run(preexec_fn=limit)
    assert result.returncode == 1, result.stderr
    assert writer.out.name in result.stderr or writer.also in result.stderr
    assert writer.state() == whole
    assert writer.beside() == []
