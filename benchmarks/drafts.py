#!/usr/bin/env python3
"""Self-speculation beside plain decoding: the first loops of a model draft, all loops verify.

Prompts are passages of the text, in turn plain and with drafts, greedy; the program ends with an error where the texts
differ. The table shows the share of drafts that was accepted and the median over rounds of (tokens a second with drafts
/ plain).
"""

import argparse
import json
import lzma
import pathlib
import statistics
import sys

from peers import RONDO, run


def passages(path: pathlib.Path, count: int) -> list[str]:
    """Beginnings of `count` long lines, spread evenly over the text."""
    text = (lzma.open(path).read() if path.suffix == ".xz" else path.read_bytes()).decode()
    lines = [line.strip() for line in text.splitlines() if len(line) > 300]
    if len(lines) < count:
        sys.exit(f"{path}: {len(lines)} lines of more than 300 characters; expected {count}")
    return [lines[i * len(lines) // count][:240].rsplit(" ", 1)[0] for i in range(count)]


def generate(prompt: str, drafts: int, options) -> dict:
    more = ["--draft-loops", options.draft_loops, "--draft", drafts] if drafts else []
    return json.loads(run(RONDO, "generate", options.model, "--prompt", prompt, "-n", options.new,
                          "--type", options.type,
                          "--threads", options.threads, "--json", "--quiet", *more))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path, help="a model whose layers return")
    parser.add_argument("--text", type=pathlib.Path, required=True, help="text, or .xz, from which the prompts come")
    parser.add_argument("--drafts", default="1,2,4", help="tokens drafted at a time")
    parser.add_argument("--draft-loops", type=int, default=1, help="loops that draft")
    parser.add_argument("--prompts", type=int, default=8, help="passages of the text")
    parser.add_argument("--new", type=int, default=64, help="new tokens a prompt")
    parser.add_argument("--type", default="auto", help="weight type in memory")
    parser.add_argument("--rounds", type=int, default=3, help="times that everything is measured")
    parser.add_argument("--threads", type=int, default=0, help="0: all CPUs")
    options = parser.parse_args()
    prompts = passages(options.text, options.prompts)
    counts = [0, *map(int, options.drafts.split(","))]
    rates: dict[int, list[float]] = {count: [] for count in counts}
    drafted, accepted = dict.fromkeys(counts, 0), dict.fromkeys(counts, 0)
    for _ in range(options.rounds):
        seconds, tokens = dict.fromkeys(counts, 0.0), dict.fromkeys(counts, 0)
        for prompt in prompts:
            plain = None
            for count in counts:
                answer = generate(prompt, count, options)
                plain = plain or answer["text"]
                if answer["text"] != plain:
                    sys.exit(f"{count} drafts: '{answer['text']}'\nplain: '{plain}'")
                if answer["new_tokens"] > 1:
                    tokens[count] += answer["new_tokens"] - 1
                    seconds[count] += (answer["new_tokens"] - 1) / answer["decode_tok_per_s"]
                drafted[count] += answer["drafted"]
                accepted[count] += answer["accepted"]
        for count in counts:
            rates[count].append(tokens[count] / seconds[count])
    print("| drafts | accepted | tokens/s | with drafts / plain |\n|---|---|---|---|")
    for count in counts:
        share = f"{accepted[count] / drafted[count]:.0%}" if drafted[count] else ""
        ratio = statistics.median(mine / base for mine, base in zip(rates[count], rates[0]))
        print(f"| {count} | {share} | {statistics.median(rates[count]):.1f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
