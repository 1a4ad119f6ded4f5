#!/usr/bin/env python3
"""Speed and quality of early exits under one policy, on one text: `rondo bench --depth-batching --follow-text`.

The model writes the tokens of the text, and leaves its loops where its exits say so. So each row's perplexity, loops
and speed are of the same tokens, with the same keys and values for what was left out: deferred computes them later, as
if nobody had left; last-loop copies those of the last loop that was run. All loops, sequence batching with exits and
depth-wise batching with exits run in turn inside each repeat; the table shows medians.
"""

import argparse
import itertools
import json
import pathlib

from peers import RONDO, run


def measure(options, policy: str, batch: str, threshold: str) -> dict:
    return json.loads(run(
        RONDO, "bench", options.model, "--depth-batching", "--exit", options.rule, "--exit-threshold", threshold,
        "--skipped-kv", policy, "--text", options.text, "--follow-text", "--requests", options.requests,
        "--batch", batch, "--prefill", options.prompt, "--decode", options.new, "--repeat", options.repeat,
        "--threads", options.threads, "--type", options.type, "--json", "--quiet"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path, help="a model whose layers return, with trained exits")
    parser.add_argument("--text", type=pathlib.Path, required=True, help="text, or .xz, that is written")
    parser.add_argument("--rule", default="gate", help="exit rule")
    parser.add_argument("--thresholds", default="0.3,0.5,0.7", help="of the rule, separated by commas")
    parser.add_argument("--policies", default="deferred,last-loop", help="keys and values of loops left out")
    parser.add_argument("--batches", default="1,4", help="sequences at once")
    parser.add_argument("--requests", type=int, default=16, help="pieces of the text")
    parser.add_argument("--prompt", type=int, default=64, help="tokens of a piece that are read first")
    parser.add_argument("--new", type=int, default=128, help="tokens of a piece that are written and scored")
    parser.add_argument("--repeat", type=int, default=3, help="times that everything is measured")
    parser.add_argument("--threads", type=int, default=0, help="0: all CPUs")
    parser.add_argument("--type", default="auto", help="weight type in memory")
    options = parser.parse_args()
    print("| keys and values | sequences | threshold | mean loops | perplexity (all loops) "
          "| sequence batching, all loops, tokens/s | … with exits | depth-wise batching with exits |\n"
          "|---|---|---|---|---|---|---|---|")
    rows = itertools.product(options.policies.split(","), options.batches.split(","), options.thresholds.split(","))
    for policy, batch, threshold in rows:
        answer = measure(options, policy, batch, threshold)
        full, exits, depths = (answer[f"{name}_tok_per_s"]
                               for name in ("sequences_full", "sequences_exits", "depths_exits"))
        print(f"| {policy} | {batch} | {threshold} | {answer['mean_loops']:.2f} "
              f"| {answer['perplexity_exits']:.1f} ({answer['perplexity_full']:.1f}) | {full:.0f} "
              f"| {exits:.0f} ({exits / full:.2f}) | {depths:.0f} ({depths / full:.2f}) |", flush=True)


if __name__ == "__main__":
    main()
