"""rondo compress from the outside: what it writes, goes on with and refuses."""

import json
import math
import signal
import subprocess
import time

import pytest


@pytest.fixture(scope="module")
def story_text(tmp_path_factory):
    """Some thousand short sentences, none of them the same."""
    path = tmp_path_factory.mktemp("text") / "stories.txt"
    names = ["Lily", "Tom", "Ben", "Mia", "Sam", "Anna", "Max", "Sue"]
    things = ["a ball", "a dog", "the park", "a red car", "her mom", "the sun", "a big tree", "a cat"]
    verbs = ["saw", "liked", "found", "wanted", "played with", "ran to", "looked at", "loved"]
    lines = [f"Once upon a time, {names[i % 8]} {verbs[i // 8 % 8]} {things[i // 64 % 8]}. "
             f"{names[i // 3 % 8]} {verbs[i // 5 % 8]} {things[i // 7 % 8]} and was happy." for i in range(1500)]
    path.write_text("\n".join(lines) + "\n")
    return path


def compress(rondo, model, text, out, *flags):
    return rondo.json("compress", model, "--text", text, "--out", out, "--search-tokens", 256,
                      "--calibrate-tokens", 2048, *flags)


def test_a_file_within_the_budget_that_everything_runs(rondo, stories, story_text, tmp_path):
    out = tmp_path / "small"
    report = compress(rondo, stories, story_text, out, "--target-size", "180KB")
    model = out / "model.gguf"
    assert report["bytes"] == model.stat().st_size <= 180_000
    assert report["perplexity"] < 3 * report["perplexity_original"]
    held_out = out / "work" / "held_out.txt"
    again = rondo.json("eval", model, "--text", held_out, "--context", 512, "--max-tokens", 8192)
    assert math.isclose(again["perplexity"], report["perplexity"], rel_tol=1e-3)
    for name in ["plan.json", "table.md", "curve.svg", "summary.txt", "search.jsonl"]:
        assert (out / name).stat().st_size > 0, name
    plan = json.loads((out / "plan.json").read_text())
    assert plan["format"] in (1, 2)
    rows = [line for line in (out / "table.md").read_text().splitlines() if line.startswith("| ")]
    assert any("original" in row for row in rows) and any("chosen" in row for row in rows)
    shown = rondo.run("inspect", model).stdout
    assert "all but embeddings" in shown
    assert rondo.run("generate", model, "--prompt", "Once upon", "--max-tokens", 8).stdout


def test_fewer_parameters_by_dropping_and_returning(rondo, stories, story_text, tmp_path):
    report = compress(rondo, stories, story_text, tmp_path / "p", "--target-params", 0.7, "--only", "drop,return")
    before = rondo.json("inspect", stories)["parameters_non_embedding"]
    assert report["parameters_non_embedding"] <= 0.7 * before
    plan = rondo.json("inspect", tmp_path / "p" / "model.gguf")["plan"]
    if report["returns"] > 0:
        assert plan["modules"]["down"]["gain"] != "none"
    else:
        assert plan["gone"]


def test_an_interrupted_compression_goes_on(rondo, stories, story_text, tmp_path):
    flags = ["--target-size", "150KB", "--only", "drop,narrow,bits", "--search-tokens", "512",
             "--calibrate-tokens", "2048", "--threads", "1"]
    out = tmp_path / "c"
    command = [str(rondo.binary), "compress", str(stories), "--text", str(story_text), "--out", str(out), *flags]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    log = out / "search.jsonl"
    end = time.monotonic() + 60
    while not log.exists() or log.read_text().count("\n") < 4:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    begun = [json.loads(line)["step"] for line in log.read_text().splitlines()]
    result = subprocess.run([*command, "--json"], capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    assert "goes on behind" in result.stderr
    whole = [json.loads(line)["step"] for line in log.read_text().splitlines()]
    assert whole[: len(begun)] == begun
    assert (out / "model.gguf").stat().st_size <= 150_000


def test_training_keeps_to_the_budget(rondo, stories, story_text, tmp_path):
    out = tmp_path / "t"
    report = compress(rondo, stories, story_text, out, "--target-size", "230KB", "--only", "bits", "--minutes", 0.05,
                      "--threads", 1)
    assert (out / "model.gguf").stat().st_size == report["bytes"] <= 230_000
    rows = [line.split("|") for line in (out / "table.md").read_text().splitlines()[2:]]
    perplexity = {row[1].strip(): float(row[4]) for row in rows}
    assert perplexity["chosen, trained"] < perplexity["chosen"]


def test_wishes_that_make_no_sense_are_refused(rondo, stories, story_text, tmp_path):
    def fails(message, *flags, code=1):
        result = rondo.run("compress", stories, "--text", story_text, *flags, check=False)
        assert result.returncode == code
        assert message in result.stderr, result.stderr

    out = tmp_path / "x"
    fails("0 targets", "--out", out, code=2)
    fails("2 targets", "--out", out, "--target-size", "1MB", "--target-speed", "2x", code=2)
    fails("'1 parsec'", "--out", out, "--target-size", "1 parsec", code=2)
    fails("'lowrang'", "--out", out, "--target-size", "100KB", "--only", "lowrang")
    fails("no step is left", "--out", tmp_path / "y", "--target-size", "1KB", "--only", "drop")
    full = tmp_path / "full"
    full.mkdir()
    (full / "letter.txt").write_text("dear")
    fails("holds files that no compression wrote", "--out", full, "--target-size", "100KB")
    assert (full / "letter.txt").read_text() == "dear"
    compress(rondo, stories, story_text, tmp_path / "z", "--target-size", "250KB", "--only", "bits")
    fails("target_size", "--out", tmp_path / "z", "--target-size", "240KB", "--only", "bits")
