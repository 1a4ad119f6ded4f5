#!/usr/bin/env python3
"""The main job on a real model: inspect it, fold it by several plans, show what each costs and gives beside plain
rounding, and compare the text of the model with that of its exact fold."""

import argparse
import json
import lzma
import os
import pathlib
import shlex
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
RONDO = "build/release/bin/rondo"
MODEL = "models/smollm2.gguf"
WORK = pathlib.Path("models/demo")
TEXT, CALIBRATION = WORK / "wikitext2-valid.txt", WORK / "enwiki.txt"
TOKENS = 2048  # of the perplexity: two windows
CALIBRATION_TOKENS = 1024  # the default is 16384
PROMPT = "The capital of France is"


def say(text):
    print(f"\n== {text}", flush=True)


def run(*arguments):
    """Shows the command and what it prints."""
    command = [RONDO, *map(str, arguments)]
    print("$", shlex.join(command), flush=True)
    subprocess.run(command, check=True)


def answer(*arguments):
    result = subprocess.run([RONDO, *map(str, arguments), "--json", "--quiet"], check=True, stdout=subprocess.PIPE)
    return json.loads(result.stdout)


def size(path):
    path = pathlib.Path(path)
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def make_models():
    """Returns the rows of the table: name and path."""
    say("plain rounding of the whole model to 4 bits: what a fold must beat")
    run("quantize", MODEL, "--type", "q4_0", "--out", WORK / "rounded.gguf", "--quiet")
    say("fold: two loops over half the layers, with residuals of full rank: the same function, more bytes")
    run("fold", MODEL, "--out", WORK / "full-rank", "--rank", 576)
    say("fold: all neighbours share, residuals of rank 64, from the weights alone")
    run("fold", MODEL, "--out", WORK / "data-free", "--order", "sequence", "--rank", 64)
    say(f"fold: depths 22 to 27 share two by two, fitted to the activations of {CALIBRATION_TOKENS} tokens")
    print("Few depths and few tokens take half a minute; all 30 depths with the default of 16384 tokens take minutes.")
    run("fold", MODEL, "--out", WORK / "calibrated", "--order", "middle-sequence", "--keep-first", 22, "--keep-last", 2,
        "--rank", 64, "--calibrate", CALIBRATION, "--calibrate-tokens", CALIBRATION_TOKENS)
    say("that fold, rounded to 4 bits as well")
    run("quantize", WORK / "calibrated", "--type", "q4_0", "--out", WORK / "calibrated.gguf", "--quiet")
    return [("original, as its file is (q4_1)", MODEL), ("plain rounding, q4_0", WORK / "rounded.gguf"),
            ("fold, full rank, f32", WORK / "full-rank"),
            ("fold of all depths, weights alone, f32", WORK / "data-free"),
            ("fold of 6 depths, calibrated, q4_0", WORK / "calibrated.gguf")]


def measure(path):
    return {"parameters": answer("inspect", path)["parameters_non_embedding"], "bytes": size(path),
            "perplexity": answer("eval", path, "--text", TEXT, "--max-tokens", TOKENS)["perplexity"],
            "speed": answer("bench", path, "--prefill", 0, "--decode", 16, "--repeat", 2)["decode_tok_per_s"]}


def show_table(rows):
    say(f"what each costs and gives: perplexity on WikiText-2 validation, first {TOKENS} tokens, windows of 1024")
    print(f"{'model':<40}{'parameters':>12}{'megabytes':>12}{'perplexity':>14}{'tokens/s':>10}")
    measured = []
    for name, path in rows:
        row = measure(path)
        measured.append(row)
        perplexity = "infinite" if row["perplexity"] is None else f"{row['perplexity']:,.2f}"
        print(f"{name:<40}{row['parameters'] / 1e6:>11.1f}M{row['bytes'] / 1e6:>12.1f}{perplexity:>14}"
              f"{row['speed']:>10.1f}", flush=True)
    print("Parameters without the embedding. Perplexity is computed in f32. Tokens per second: one sequence, all CPUs, "
          "the weights as they are stored (8-bit products for q4, f32 for f32).")
    return measured


def verdict(rounded, fold):
    say("what that means")
    perplexities = f"{fold['perplexity']:,.2f} beside {rounded['perplexity']:,.2f}"
    sizes = f"{fold['bytes'] / 1e6:.1f} MB beside {rounded['bytes'] / 1e6:.1f} MB"
    print(f"Both in 4 bits, the calibrated fold beside plain rounding: perplexity {perplexities}, {sizes}.")
    if fold["perplexity"] > rounded["perplexity"]:
        print("A fold alone costs quality, and plain rounding costs less of it for each byte. A fold is where training "
              "starts, not a finished model: `rondo train` brings quality back (recipes/uptrain_smollm2.toml). Where "
              "nothing can be trained, take plain rounding.")


def same_text():
    say("the same function writes the same text: the original and its fold of full rank, both in f32")
    texts = []
    for path in (MODEL, WORK / "full-rank"):
        arguments = ["generate", path, "--prompt", PROMPT, "--max-tokens", 24, "--type", "f32"]
        print("$", shlex.join([RONDO, *map(str, arguments)]), flush=True)
        texts.append(answer(*arguments)["text"])
        print(PROMPT + texts[-1])
    if texts[0] != texts[1]:
        sys.exit("the texts differ: the fold of full rank is not the function of the original")
    print("The texts are equal.")


def unpack(source, target):
    target.write_bytes(lzma.open(source).read())


def main():
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    os.chdir(ROOT)
    started = time.monotonic()
    WORK.mkdir(parents=True, exist_ok=True)
    unpack("tests/data/wikitext-2/valid.raw.xz", TEXT)
    unpack("tests/data/enwiki/excerpt.txt.xz", CALIBRATION)
    say("this machine")
    run("doctor")
    say("the model: SmolLM2-135M-Instruct")
    run("inspect", MODEL)
    rows = make_models()
    say("the plan of the calibrated fold")
    run("inspect", WORK / "calibrated")
    measured = show_table(rows)
    verdict(measured[1], measured[-1])
    same_text()
    print(f"\nThe demonstration itself took {time.monotonic() - started:.0f} s.")


if __name__ == "__main__":
    main()
