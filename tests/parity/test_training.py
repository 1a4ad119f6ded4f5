"""Runs of rondo-train as processes: several ranks under torchrun, signals, kills, and disks that are full.

Two ranks sum gradients in another order than one process does, so parameters differ by roundings that AdamW
divides by the gradient's size: after `STEPS` steps at rate LR they may differ by a small share of what they
moved, which the tolerance below is in units of.
"""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import BUILD
from safetensors.numpy import load_file

DATA = Path(__file__).parent.parent / "data"
STORIES = DATA / "models" / "stories260K" / "stories260K.bin"
TEXT = DATA / "enwiki" / "excerpt.txt.xz"
TRAIN = BUILD / "bin" / "rondo-train"
STEPS, LR = 8, 1e-3


@pytest.fixture(scope="module")
def folded(tmp_path_factory):
    assert TRAIN.exists(), f"{TRAIN} is missing: run `make build` with torch in .venv"
    out = tmp_path_factory.mktemp("fold") / "folded"
    subprocess.run([BUILD / "bin" / "rondo", "fold", STORIES, "--out", out, "--order", "sequence", "--loops", "5",
                    "--rank", "4"], check=True, capture_output=True)
    return out


def recipe(folder, folded, name="run", stage=f"steps = {STEPS}", run=""):
    path = folder / f"{name}.toml"
    path.write_text(f"""
model = "{folded}"
teacher = "{STORIES}"
[data]
files = ["{TEXT}"]
cache = "{folder}/cache"
length = 32
[run]
out = "{folder}/{name}"
seed = 5
threads = 1
checkpoint_steps = 2
checkpoint_minutes = 0
{run}
[train]
batch = 4
accumulate = 2
lr = {LR}
ema = 0.5
[[stages]]
{stage}
""")
    return path


def train(path, *arguments, **options):
    return subprocess.run([TRAIN, path, *arguments], capture_output=True, text=True, timeout=300, **options)


def torchrun(path, *arguments, ranks=2):
    command = [sys.executable, "-m", "torch.distributed.run", "--no-python", "--nproc-per-node", str(ranks),
               "--master-addr", "127.0.0.1", "--master-port", "0", "--rdzv-backend", "c10d", "--rdzv-endpoint",
               "127.0.0.1:0", TRAIN, path, *arguments]
    return list(map(str, command))


def weights(run):
    return load_file(run / "model" / "model.safetensors")


def losses(run):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if "loss" in line and "event" not in line]


def wait_for(condition, seconds=60):
    end = time.time() + seconds
    while not condition():
        assert time.time() < end, "waited in vain"
        time.sleep(0.002)


# --- several ranks --------------------------------------------------------------------------------

@pytest.mark.parametrize("stage", [
    f"steps = {STEPS}",
    f'steps = {STEPS}\nkind = "align"',
    f"steps = {STEPS}\nhidden = 0.5\nhidden_depths = [1, 3]",
], ids=["distill", "align", "hidden"])
def test_two_ranks_train_as_one_process_does(tmp_path, folded, stage):
    one = train(recipe(tmp_path, folded, "one", stage))
    assert one.returncode == 0, one.stderr
    two = subprocess.run(torchrun(recipe(tmp_path, folded, "two", stage)), capture_output=True, text=True,
                         timeout=300)
    assert two.returncode == 0, two.stderr
    np.testing.assert_allclose(losses(tmp_path / "two"), losses(tmp_path / "one"), rtol=1e-4)
    a, b = weights(tmp_path / "one"), weights(tmp_path / "two")
    start = load_file(folded / "model.safetensors")
    assert a.keys() == b.keys()
    moved = max(np.abs(a[name] - start[name]).max() for name in a)
    assert moved > 1e-3
    for name in a:
        assert np.abs(a[name] - b[name]).max() < 0.02 * moved, name
        assert np.abs(a[name] - b[name]).mean() < 5e-4 * moved, name


def test_documents_apart_weigh_alike_over_ranks(tmp_path, folded):
    """Ranks have unequal numbers of targets then; the cross-entropy is still that of the whole batch."""
    apart = ["--set", "data.documents_apart=true", "--set", "data.unit=line", "--set", "stages.0.kd=0"]
    assert train(recipe(tmp_path, folded, "one"), *apart).returncode == 0
    two = subprocess.run(torchrun(recipe(tmp_path, folded, "two"), *apart), capture_output=True, text=True,
                         timeout=300)
    assert two.returncode == 0, two.stderr
    np.testing.assert_allclose(losses(tmp_path / "two"), losses(tmp_path / "one"), rtol=1e-4)


def test_a_batch_that_ranks_cannot_share_is_refused(tmp_path, folded):
    result = subprocess.run(torchrun(recipe(tmp_path, folded, "odd"), "--set", "stages.0.batch=3"),
                            capture_output=True, text=True, timeout=300)
    assert result.returncode != 0
    assert "stages.0.batch: batch 3 for 2 ranks" in result.stderr


def test_speech_is_trained_by_one_process(tmp_path):
    path = tmp_path / "speech.toml"
    path.write_text(f"[speech]\ntrain = '{DATA}/speech/kathleen.tsv'\n[run]\nout = '{tmp_path}/run'\n"
                    "[train]\nsteps = 1\n")
    result = subprocess.run(torchrun(path), capture_output=True, text=True, timeout=300)
    assert result.returncode != 0
    assert "speech: 2 ranks (expected one process" in result.stderr


def test_a_killed_rank_ends_all_and_the_run_resumes(tmp_path, folded):
    """Also with another number of ranks: checkpoints do not depend on it."""
    long = recipe(tmp_path, folded, "killed", "steps = 400", run="keep = 400")
    process = subprocess.Popen(torchrun(long), stderr=subprocess.PIPE, text=True)
    wait_for(lambda: list((tmp_path / "killed" / "checkpoints").glob("stage-00-step-????????")))
    workers = subprocess.run(["pgrep", "-f", f"^{TRAIN} {long}"], capture_output=True, text=True).stdout.split()
    assert len(workers) == 2
    os.kill(int(workers[1]), signal.SIGKILL)
    _, message = process.communicate(timeout=120)
    assert process.returncode != 0
    assert "has lost another one" in message and "--resume" in message
    done = sorted((tmp_path / "killed" / "checkpoints").glob("stage-00-step-????????"))
    assert done
    steps = int(done[-1].name[-8:]) + 4
    # The run of 400 steps would take long; what counts is that it goes on from the checkpoint.
    result = train(long, "--resume", "--stop-after", str(steps))
    assert result.returncode == 0, result.stderr
    assert len(losses(tmp_path / "killed")) == steps


# --- signals and kills ------------------------------------------------------------------------------

def test_kill_at_any_moment_resumes_to_the_same_bits(tmp_path, folded):
    """Killed while it starts, between checkpoints, around one and in either stage."""
    stage = 'steps = 30\nkind = "align"\n[[stages]]\nsteps = 50'
    whole = train(recipe(tmp_path, folded, "whole", stage))
    assert whole.returncode == 0, whole.stderr
    killed = recipe(tmp_path, folded, "killed", stage)
    log = tmp_path / "killed/metrics.jsonl"
    steps = lambda: log.read_bytes().count(b'"loss"') if log.exists() else 0  # noqa: E731
    for moment in [0, 3, 10, 11, 24, 33, 34, 47, 60]:
        process = subprocess.Popen([TRAIN, killed, "--resume", "--quiet"])
        wait_for(lambda: steps() >= moment or process.poll() is not None)
        assert process.poll() is None, "the run ended before it was to be killed"
        process.kill()
        process.wait()
    result = train(killed, "--resume")
    assert result.returncode == 0, result.stderr
    for name in ["model.safetensors", "config.json"]:
        assert (tmp_path / "whole/model" / name).read_bytes() == (tmp_path / "killed/model" / name).read_bytes()
    assert losses(tmp_path / "whole") == losses(tmp_path / "killed")


def test_a_signal_while_a_corpus_is_packed_ends_at_once(tmp_path, folded):
    """There is nothing to keep yet, and packing a large corpus may take long."""
    line = "Once upon a time there was a girl who packed a corpus.\n\n"
    (tmp_path / "large.txt").write_text("".join(f"{i}: {line}" for i in range(1_500_000)))
    path = recipe(tmp_path, folded, "packing")
    process = subprocess.Popen([TRAIN, path, "--quiet", "--set", f"data.files=['{tmp_path}/large.txt']"])
    wait_for(lambda: (tmp_path / "cache").exists() and list((tmp_path / "cache").iterdir()))
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=10) == -signal.SIGINT
    assert not (tmp_path / "packing" / "metrics.jsonl").exists()


def test_a_termination_leaves_a_checkpoint_of_the_last_step(tmp_path, folded):
    long = recipe(tmp_path, folded, "ended", "steps = 4000", run="log_steps = 1")
    process = subprocess.Popen([TRAIN, long, "--set", "run.checkpoint_steps=0"], stderr=subprocess.PIPE, text=True)
    wait_for(lambda: (tmp_path / "ended/metrics.jsonl").exists() and len(losses(tmp_path / "ended")) >= 3)
    process.terminate()
    _, message = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "--resume goes on" in message
    steps = len(losses(tmp_path / "ended"))
    assert (tmp_path / f"ended/checkpoints/stage-00-step-{steps:08d}").is_dir()


def test_a_suspended_run_has_a_clock_that_stands_still(tmp_path, folded):
    timed = recipe(tmp_path, folded, "suspended", "minutes = 0.05")  # three seconds
    process = subprocess.Popen([TRAIN, timed, "--quiet"])
    wait_for(lambda: (tmp_path / "suspended/metrics.jsonl").exists() and losses(tmp_path / "suspended"))
    process.send_signal(signal.SIGTSTP)
    time.sleep(4)
    before = len(losses(tmp_path / "suspended"))
    process.send_signal(signal.SIGCONT)
    assert process.wait(timeout=60) == 0
    assert len(losses(tmp_path / "suspended")) > before


# --- full disks -------------------------------------------------------------------------------------

def room_for(size):
    """Files may not grow beyond `size`; writing more fails, as it does on a full disk."""
    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    return limit


def test_a_full_disk_is_reported_and_loses_nothing(tmp_path, folded):
    """The limit on a file's size lets models through, and not the optimiser's state."""
    whole = train(recipe(tmp_path, folded, "whole"))
    assert whole.returncode == 0, whole.stderr
    full = recipe(tmp_path, folded, "full")
    assert train(full, "--stop-after", "3").returncode == 0  # a checkpoint at step 2
    size = (tmp_path / "full/checkpoints/stage-00-step-00000002.safetensors").stat().st_size
    result = train(full, "--resume", preexec_fn=room_for(size // 2))
    assert result.returncode != 0
    assert "checkpoint not written" in result.stderr
    kept = {p.name for p in (tmp_path / "full/checkpoints").iterdir()}
    assert kept == {f"stage-00-step-00000002{end}" for end in ("", ".json", ".safetensors")}
    again = train(full, "--resume")
    assert again.returncode == 0, again.stderr
    assert ((tmp_path / "whole/model/model.safetensors").read_bytes() ==
            (tmp_path / "full/model/model.safetensors").read_bytes())


def test_metrics_wait_for_room(tmp_path, folded):
    """Without room for a line training goes on, the end says what is missing, and a resumed run has all."""
    path = recipe(tmp_path, folded, "run")
    assert train(path, "--stop-after", "3").returncode == 0
    room = (tmp_path / "run/metrics.jsonl").stat().st_size + 10
    result = train(path, "--resume", preexec_fn=room_for(room))
    assert result.returncode != 0
    assert "metrics wait to be written" in result.stderr
    again = train(path, "--resume")
    assert again.returncode == 0, again.stderr
    assert len(losses(tmp_path / "run")) == STEPS
