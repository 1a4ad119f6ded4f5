#!/usr/bin/env python3
"""Distillation of a folded SmolLM2-135M by `rondo train`, beside the same work with torch, transformers and PEFT.

Neighbouring layers tied in pairs, LoRA of their own, everything trained by AdamW, a live teacher, cross-entropy and
forward KL by half; with bf16 the operands of products are rounded to it, by autocast in the peer. The peer is
train_peer.py. Both run in turn, each time from the start; the first step of a run does not count. The table shows the
median over rounds, and the ratios taken inside a round. Memory is the process's largest resident set.
"""

import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys

from peers import ROOT, RONDO, gguf, hf, run

FILES = ROOT / "models" / "bench" / "training"
TEXT = ROOT / "tests" / "data" / "enwiki" / "excerpt.txt.xz"

RECIPE = """
model = "{student}"
teacher = "{teacher}"
[data]
files = ["{text}"]
cache = "{files}/corpora"
length = {length}
[run]
out = "{files}/run"
threads = {threads}
[train]
batch = {batch}
steps = {steps}
lr = 3e-4
compute = "{compute}"
checkpoint = "{checkpoint}"
ce = 0.5
kd = 0.5
"""


def largest_child(command: list) -> tuple[str, int]:
    """Standard output of a program and its largest resident set, bytes."""
    process = subprocess.Popen([str(c) for c in command], stdout=subprocess.PIPE, text=True)
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        sys.exit(f"{command[0]}: failed")
    return output, usage.ru_maxrss * 1024


def rondo(recipe: pathlib.Path) -> dict:
    shutil.rmtree(FILES / "run", ignore_errors=True)
    _, memory = largest_child([RONDO, "train", recipe, "--quiet"])
    lines = [json.loads(line) for line in (FILES / "run" / "metrics.jsonl").read_text().splitlines()]
    rates = [line["tokens_per_s"] for line in lines if "loss" in line][1:]
    return {"tokens_per_s": statistics.median(rates), "peak_memory_bytes": memory}


def peer(model: pathlib.Path, options: argparse.Namespace) -> dict:
    names = ["steps", "batch", "length", "rank", "threads", "compute"]
    settings = [part for name in names for part in (f"--{name}", getattr(options, name))]
    output, memory = largest_child([sys.executable, ROOT / "benchmarks" / "train_peer.py", model, *settings])
    return {"tokens_per_s": json.loads(output.splitlines()[-1])["tokens_per_s"], "peak_memory_bytes": memory}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value, words in [("steps", 4, "of a run; the first does not count"), ("rounds", 3, "times that both run"),
                               ("batch", 8, "rows of a step"), ("length", 256, "tokens of a row"),
                               ("rank", 64, "of the LoRA"), ("threads", 2, "of both programs")]:
        parser.add_argument(f"--{name}", type=int, default=value, help=f"{words} (default: {value})")
    parser.add_argument("--compute", choices=["f32", "bf16"], default="f32", help="type of the products' operands")
    parser.add_argument("--checkpoint", choices=["none", "loop", "depth"], default="none",
                        help="of rondo: activations computed again")
    parser.add_argument("--out", type=pathlib.Path, help="JSON file for all figures")
    options = parser.parse_args()
    FILES.mkdir(parents=True, exist_ok=True)
    model, teacher = gguf("smollm2", "q4_1"), hf("smollm2")
    student, recipe = FILES / f"pairs-{options.rank}", FILES / "recipe.toml"
    if not student.exists():
        run(RONDO, "fold", model, "--out", student, "--order", "sequence", "--loops", 2, "--rank", options.rank)
    recipe.write_text(RECIPE.format(student=student, teacher=model, files=FILES, text=TEXT,
                                    **vars(options)))
    rounds = []
    for i in range(options.rounds):
        rounds.append({"rondo": rondo(recipe), "torch": peer(teacher, options)})
        print(f"round {i + 1}: {json.dumps(rounds[-1])}", file=sys.stderr, flush=True)

    def median(name: str, key: str) -> float:
        return statistics.median(r[name][key] for r in rounds)
    print("| | tokens/s | peak resident memory |\n|---|---|---|")
    for name, label in [("rondo", "`rondo train`"), ("torch", "torch + transformers + PEFT")]:
        print(f"| {label} | {median(name, 'tokens_per_s'):.0f} | {median(name, 'peak_memory_bytes') / 1e9:.1f} GB |")
    ratios = {key: statistics.median(r["rondo"][key] / r["torch"][key] for r in rounds) for key in rounds[0]["rondo"]}
    print(f"| ratio | {ratios['tokens_per_s']:.2f} | {ratios['peak_memory_bytes']:.2f} |")
    if options.out:
        options.out.write_text(json.dumps({"options": vars(options), "rounds": rounds, "ratios": ratios}, default=str,
                                          indent=1) + "\n")


if __name__ == "__main__":
    main()
