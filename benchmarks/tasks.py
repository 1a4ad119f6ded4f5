#!/usr/bin/env python3
"""Scores and speed of `rondo eval --tasks` beside lm-evaluation-harness (transformers on the CPU, f32): the same
records of every task, compared example by example.

The folder holds records in any form that rondo reads (docs/eval.md). Both programs keep what they finished under
--state, so an interrupted comparison goes on: a task already there is not run again by the harness.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import time

from peers import ROOT, RONDO

sys.path.insert(0, str(ROOT / "tests" / "parity"))
import harness  # noqa: E402


def run_rondo(arguments, task, state):
    command = [RONDO, "eval", arguments.model, "--tasks", task, "--data", arguments.data, "--limit", arguments.limit,
               "--shots", arguments.shots, "--threads", arguments.threads, "--json", "--quiet", "--resume", state]
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    if result.returncode != 0:
        sys.exit(result.stderr)
    return json.loads(result.stdout)


def likelihoods(path):
    return {row["example"]: row["scores"][0] for row in map(json.loads, path.read_text().splitlines()[1:])}


def time_scoring(model):
    """Makes the harness's model add up what its likelihoods take, prompts and statistics left out, in `seconds`."""
    scoring = model.loglikelihood

    def timed(*arguments, **options):
        start = time.time()
        result = scoring(*arguments, **options)
        model.seconds += time.time() - start
        return result

    model.loglikelihood = timed
    return model


def run_peer(arguments, task, report, state, load):
    """The harness on the records that rondo read; its examples, metrics and seconds."""
    kept = state / f"{task}-{arguments.limit}-{arguments.shots}-{arguments.threads}.harness.json"
    if not kept.exists():
        folder = (state / "harness").resolve()
        folder.mkdir(parents=True, exist_ok=True)
        harness.convert(task, pathlib.Path(report["file"]), folder)
        model = load()
        model.seconds = 0
        score = harness.run_harness(model, folder, [task], folder, arguments.shots, arguments.limit)[task]
        kept.write_text(json.dumps([score.examples, score.metrics, model.seconds]))
    return json.loads(kept.read_text())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=pathlib.Path, required=True, help="folder with the records")
    parser.add_argument("--model", type=pathlib.Path, default=ROOT / "models" / "smollm2.gguf", help="GGUF file")
    parser.add_argument("--tasks", default=",".join(harness.TASKS), help="names, with commas between")
    parser.add_argument("--limit", type=int, default=100, help="examples of a task")
    parser.add_argument("--shots", type=int, default=0, help="worked examples before each question")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--state", type=pathlib.Path, default=ROOT / "build" / "tasks",
                        help="folder for what is finished")
    arguments = parser.parse_args()
    arguments.state.mkdir(parents=True, exist_ok=True)
    models = []

    def load():
        import torch
        torch.set_num_threads(arguments.threads)
        if not models:
            models.append(time_scoring(harness.load_gguf(arguments.model)))
        return models[0]

    print(f"{'task':16} {'metric':11} {'rondo':>17} {'harness':>17} {'max |Δ|':>8} {'examples/s':>10} {'harness':>8}")
    for task in arguments.tasks.split(","):
        name = task.split(":")[0]
        state = arguments.state / f"{task.replace(':', '-')}-{arguments.shots}.rondo"
        report = run_rondo(arguments, task, state)
        ours = report["tasks"][name]
        mine = likelihoods(state)
        examples, metrics, seconds = run_peer(arguments, name, ours, arguments.state, load)
        apart = max(abs(a - b) for i, row in mine.items() if i < len(examples)
                    for (a, _), (b, _) in zip(row, examples[i], strict=True))
        # Nothing was scored where an earlier run had finished.
        rates = f"{report['examples_per_s']:10.2f} {len(examples) / seconds:8.2f}"
        for metric in [m for m in ("acc", "acc_norm", "perplexity") if m in ours]:
            a, b = ([scores[metric], scores[f"{metric}_stderr"]] for scores in (ours, metrics))
            print(f"{name:16} {metric:11} {a[0]:8.4f} ± {a[1]:6.4f} {b[0]:8.4f} ± {b[1]:6.4f} {apart:8.1e} {rates}",
                  flush=True)


if __name__ == "__main__":
    main()
