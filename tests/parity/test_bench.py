"""`rondo bench` and the program that sets it beside llama.cpp and transformers."""

import json
import subprocess
import sys

import pytest

from conftest import BUILD, ROOT


def bench(rondo, model, *arguments):
    return rondo.json("bench", model, "--prefill", 16, "--decode", 8, "--repeat", 3, *arguments)


def test_report(rondo, stories):
    report = bench(rondo, stories, "--batch", 2, "--context", 4, "--type", "f32")
    for phase in ("prefill", "decode"):
        low, middle, high = (report[f"{phase}_tok_per_s{end}"] for end in ("_min", "", "_max"))
        assert 0 < low <= middle <= high
    assert 0 < report["load_seconds"] < report["first_token_seconds"]
    assert report["load_seconds"] == pytest.approx(
        sum(report[f"{part}_seconds"] for part in ("open", "tokenizer", "pack")))
    assert report["peak_memory_bytes"] > report["weight_bytes"] > 0
    # Keys and values of 5 layers, 4 heads of 8 floats, at a mean length of 4 + 4; heads are padded to 16 at most.
    exact = 8 * 5 * 2 * 4 * 8 * 4
    assert exact <= report["kv_bytes_per_token"] <= 2 * exact
    # The whole model fits in any last cache: only keys and values come from memory.
    assert report["bytes_per_token"] == report["kv_bytes_per_token"]
    assert report["share_of_ceiling"] == pytest.approx(
        report["decode_tok_per_s"] / report["ceiling_tok_per_s"])


def test_phases_can_be_left_out(rondo, stories):
    report = rondo.json("bench", stories, "--prefill", 16, "--decode", 0, "--repeat", 1)
    assert "prefill_tok_per_s" in report and "decode_tok_per_s" not in report
    assert "ceiling_tok_per_s" not in report


def test_refusals_name_the_option(rondo, stories):
    for flag, value in (("--batch", 0), ("--decode", 1 << 20), ("--repeat", 0)):
        result = rondo.run("bench", stories, flag, value, check=False)
        assert result.returncode == 1 and flag.strip("-") in result.stderr


@pytest.mark.slow
def test_real_model_reads_its_file_once_a_token(rondo, smollm2):
    """Without a cache that holds it, a token of a plain model costs its packed weights, embedding rows aside."""
    report = bench(rondo, smollm2)
    linears = report["bytes_per_token"] - report["kv_bytes_per_token"] + report["cached_bytes_per_token"]
    assert 0.5 * smollm2.stat().st_size < linears < 1.5 * smollm2.stat().st_size


@pytest.mark.slow
def test_peers(rondo, smollm2, tmp_path):
    out = tmp_path / "peers.json"
    result = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "peers.py", "--models", "smollm2", "--files", "q4_0",
         "--rondo", "auto", "--transformers", "float32", "--rounds", "1", "--prefill", "16", "--decode", "4",
         "--out", out],
        capture_output=True, text=True, timeout=600, env={"RONDO": str(BUILD / "bin" / "rondo"), "PATH": "/usr/bin"})
    assert result.returncode == 0, result.stderr
    rows = json.loads(out.read_text())["rows"]
    assert [row["program"] for row in rows] == ["rondo", "llama.cpp", "transformers"]
    for row in rows:
        assert row["decode_tok_per_s"] > 0 and row["prefill_tok_per_s"] > 0
        assert row["peak_memory_bytes"] > 10_000_000
        assert f"| {row['program']} |" in result.stdout
