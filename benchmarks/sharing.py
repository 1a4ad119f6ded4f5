#!/usr/bin/env python3
"""What sharing and residuals do to speed: cycle folds of SmolLM2-135M beside the model itself, all linears in q4_0.

Models are made once, under models/bench/sharing, by `rondo fold` (of the weights alone: what is measured does not
depend on quality) and `rondo quantize`. They run in turn, so that the machine's other work hits all of them. The table
shows the median over rounds of each round's median, in brackets the largest rate of all, and the median share of the
ceiling that reading memory sets (docs/benchmarks.md).
"""

import argparse
import json
import pathlib
import shutil
import statistics
import sys

from peers import FILES, ROOT, RONDO, run

MODEL = ROOT / "models" / "smollm2.gguf"
LOOPS = {1: "untied", 2: "two loops", 3: "three loops"}


def title(loops: int, rank: int, head: str) -> str:
    words = [LOOPS[loops]]
    if loops > 1:
        words.append(f"LoRA rank {rank}" if rank else "no residuals")
    return ", ".join(words + ([f"head {head}"] if head != "q8_0" else []))


def made(loops: int, rank: int, head: str) -> pathlib.Path:
    path = FILES / "sharing" / f"loops{loops}-rank{rank}-head_{head}.gguf"
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    source, folded = MODEL, path.with_suffix(".fold")
    if loops > 1:
        residual = ["--rank", rank] if rank else ["--residual", "none"]
        run(RONDO, "fold", MODEL, "--out", folded, "--order", "cycle", "--loops", loops, *residual, "--quiet")
        source = folded
    run(RONDO, "quantize", source, "--type", "q4_0", "--embed-type", head, "--out", path, "--quiet")
    shutil.rmtree(folded, ignore_errors=True)
    return path


def median(rounds: list[dict], key: str) -> float:
    return statistics.median(answer[key] for answer in rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rank", type=int, default=64, help="of the LoRA residuals (default: 64)")
    parser.add_argument("--rounds", type=int, default=3, help="times that every model is measured (default: 3)")
    parser.add_argument("--repeat", type=int, default=7, help="repeats inside a round (default: 7)")
    parser.add_argument("--threads", type=int, default=0, help="0: all CPUs")
    parser.add_argument("--out", type=pathlib.Path, help="JSON file for all figures")
    options = parser.parse_args()
    rows = [(1, 0, "q8_0"), (2, 0, "q8_0"), (2, options.rank, "q8_0"), (3, 0, "q8_0"), (3, options.rank, "q8_0"),
            (1, 0, "q4_0"), (3, 0, "q4_0")]
    answers: dict[str, list[dict]] = {title(*row): [] for row in rows}
    for i in range(options.rounds):
        for row in rows:
            answer = json.loads(run(RONDO, "bench", made(*row), "--repeat", options.repeat,
                                    "--threads", options.threads, "--json", "--quiet"))
            answers[title(*row)].append(answer)
        print(f"round {i + 1} of {options.rounds}", file=sys.stderr, flush=True)
    print("| model | decode | prefill 512 | share of the ceiling |\n|---|---|---|---|")
    for name, rounds in answers.items():
        cells = [f"{median(rounds, key):.0f} ({max(a[f'{key}_max'] for a in rounds):.0f})"
                 for key in ("decode_tok_per_s", "prefill_tok_per_s")]
        print(f"| {name} | {' | '.join(cells)} | {median(rounds, 'share_of_ceiling'):.2f} |")
    if options.out:
        options.out.write_text(json.dumps(answers, indent=1) + "\n")


if __name__ == "__main__":
    main()
