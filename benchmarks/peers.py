#!/usr/bin/env python3
"""Speed of rondo beside llama.cpp and transformers: one sequence's decode and a prompt's prefill, same models,
same threads, measured in turn (A B C, A B C, …) so that the machine's other work hits all alike.

--rondo names types of `rondo bench --type`: auto runs every quantised file as it is, any other type runs the f16
file. Model files are made once, under models/bench: the f16 one by `rondo export`, the others by llama.cpp's
quantiser. Each rate is the best of two inside a round, the table shows the best of all rounds; ratios are taken
inside each round, and their median is shown. `make bench` runs it and installs what it needs.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
RONDO = pathlib.Path(os.environ.get("RONDO", ROOT / "build" / "release" / "bin" / "rondo"))
WORKER = pathlib.Path(__file__).with_name("peer_worker.py")
FILES = ROOT / "models" / "bench"
# The type of the file as it comes; all others are made from it.
SHIPPED = {"smollm2": "q4_1", "gemma3": "q4_k_m"}
REPEAT = 2


def run(*command, **options) -> str:
    """What the command writes; ends the program with its message if it fails."""
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True, **options)
    if result.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\n{result.stderr[-2000:]}")
    return result.stdout


def gguf(model: str, kind: str) -> pathlib.Path:
    """The model's file of one type, made if it is not there."""
    shipped = ROOT / "models" / f"{model}.gguf"
    if kind == SHIPPED[model]:
        return shipped
    path = FILES / f"{model}-{kind}.gguf"
    if path.exists():
        return path
    part = path.with_suffix(".part")
    print(f"making {path.relative_to(ROOT)}", file=sys.stderr)
    if kind == "f16":
        run(RONDO, "export", shipped, "--format", "gguf", "--type", "f16", "--out", part, "--quiet")
    else:
        run(sys.executable, WORKER, "quantize", gguf(model, "f16"), part, kind)
    part.rename(path)
    return path


def hf(model: str) -> pathlib.Path:
    path = FILES / f"{model}-hf"
    if not path.exists():
        run(RONDO, "export", ROOT / "models" / f"{model}.gguf", "--format", "hf", "--type", "bf16", "--out", path,
            "--quiet")
    return path


class Rondo:
    """A run of `rondo bench` each time: it loads in a fraction of a second."""

    program = "rondo"

    def __init__(self, path: pathlib.Path, file: str, kind: str, threads: int):
        self.file, self.type = file, kind
        self.command = [RONDO, "bench", path, "--type", kind, "--threads", threads, "--json", "--quiet"]

    def measure(self, request: dict) -> dict:
        answer = json.loads(run(*self.command, *(str(part) for key, value in request.items()
                                                 for part in (f"--{key}", value))))
        best = {key: answer[f"{key}_max"] for key in ("prefill_tok_per_s", "decode_tok_per_s")}
        return answer | best

    def close(self) -> None:
        pass


class Peer:
    """Another program in a worker that keeps its model loaded and sleeps until asked."""

    def __init__(self, program: str, path: pathlib.Path, file: str, kind: str, threads: int):
        self.program, self.file, self.type = program, file, kind
        extra = [kind] if program == "transformers" else []
        self.worker = subprocess.Popen([sys.executable, WORKER, program, path, str(threads), *extra],
                                       stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if self._line() != "ready":
            sys.exit(f"{program} failed on {path}")

    def _line(self) -> str:
        return self.worker.stdout.readline().strip()

    def measure(self, request: dict) -> dict:
        print(json.dumps(request), file=self.worker.stdin, flush=True)
        answer = self._line()
        return json.loads(answer) if answer else sys.exit(f"{self.program} stopped on {self.file}")

    def close(self) -> None:
        self.worker.stdin.close()
        self.worker.wait()


def contestants(model: str, options) -> list:
    """In the order in which a round measures them: rondo next to its peer of the same file."""
    threads = options.threads
    plain = [kind for kind in options.rondo if kind != "auto"]
    entries = []
    for file in options.files:
        path = gguf(model, file)
        kinds = plain if file == "f16" else ["auto"] if "auto" in options.rondo else []
        entries += [Rondo(path, file, kind, threads) for kind in kinds]
        entries.append(Peer("llama.cpp", path, file, file, threads))
    entries += [Peer("transformers", hf(model), "hf", kind, threads) for kind in options.transformers]
    return entries


def busy_share() -> float:
    """Share of all CPUs that other programs use, over two seconds."""
    def times() -> tuple[int, int]:
        with open("/proc/stat") as stat:
            values = list(map(int, stat.readline().split()[1:9]))
        return values[3] + values[4], sum(values)

    idle, total = times()
    time.sleep(2)
    idle_after, total_after = times()
    return 1 - (idle_after - idle) / (total_after - total)


def measure(model: str, options) -> list[dict]:
    """One row a contestant, with the answers of all rounds."""
    entries = contestants(model, options)
    rows = [{"model": model, "program": e.program, "file": e.file, "type": e.type, "rounds": []} for e in entries]
    request = {"prefill": options.prefill, "decode": options.decode, "repeat": REPEAT}
    for turn in range(options.rounds):
        for entry, row in zip(entries, rows):
            row["rounds"].append(entry.measure(request))
            print(f"{model} round {turn + 1} {entry.program} {entry.file} {entry.type}", file=sys.stderr)
    for entry in entries:
        entry.close()
    for row in rows:
        for key in ("decode_tok_per_s", "prefill_tok_per_s", "peak_memory_bytes"):
            row[key] = max(answer[key] for answer in row["rounds"])
    return rows


def ratio(row: dict, other: dict, key: str) -> float:
    return statistics.median(a[key] / b[key] for a, b in zip(row["rounds"], other["rounds"]))


def table(rows: list[dict], options) -> str:
    """Each peer beside rondo on the same file, or beside rondo's first row where there is none."""
    lines = [f"| program | file | type | decode, tok/s | prefill {options.prefill}, tok/s | peak memory | "
             "rondo / it: decode, prefill |", "|---|---|---|---|---|---|---|"]
    ours = [row for row in rows if row["program"] == "rondo"]
    for row in rows:
        base = next((r for r in ours if r["file"] == row["file"]), ours[0] if ours else None)
        against = ""
        if base and row["program"] != "rondo":
            decode, prefill = (ratio(base, row, f"{key}_tok_per_s") for key in ("decode", "prefill"))
            against = f"{decode:.2f}, {prefill:.2f} ({base['file']} as {base['type']})"
        lines.append(f"| {row['program']} | {row['file']} | {row['type']} | {row['decode_tok_per_s']:.1f} | "
                     f"{row['prefill_tok_per_s']:.0f} | {row['peak_memory_bytes'] / 1e6:.0f} MB | {against} |")
    return "\n".join(lines)


def parse() -> argparse.Namespace:
    words = lambda text: [word for word in text.split(",") if word]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=words, default=list(SHIPPED), help="smollm2, gemma3")
    parser.add_argument("--files", type=words, default=["f16", "q8_0", "q4_0", "q4_1", "q4_k_m"],
                        help="types of model files")
    parser.add_argument("--rondo", type=words, default=["auto", "bf16", "f32"], help="types in which rondo runs them")
    parser.add_argument("--transformers", type=words, default=["bfloat16", "float32"],
                        help="types in which transformers runs")
    parser.add_argument("--rounds", type=int, default=5, help="times that all programs are measured")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--prefill", type=int, default=512, help="tokens of the prompt")
    parser.add_argument("--decode", type=int, default=64, help="new tokens")
    parser.add_argument("--out", type=pathlib.Path, default=FILES / "peers.json", help="JSON file for all figures")
    options = parser.parse_args()
    for model in options.models:
        if model not in SHIPPED:
            parser.error(f"unknown model {model} (known: {', '.join(SHIPPED)})")
    return options


def main() -> None:
    options = parse()
    FILES.mkdir(parents=True, exist_ok=True)
    busy = busy_share()
    if busy > 0.05:
        print(f"warning: other programs use {100 * busy:.0f} % of this machine. Programs whose threads wait for each "
              "other by spinning suffer from that far more than others: the ratios will be wrong.", file=sys.stderr)
    rows = []
    for model in options.models:
        measured = measure(model, options)
        rows += measured
        print(f"\n{model}, {options.threads} threads, {options.rounds} rounds\n\n{table(measured, options)}\n",
              flush=True)
        options.out.write_text(json.dumps({"busy_share_before": busy, "threads": options.threads,
                                           "prefill": options.prefill,
                                           "decode": options.decode, "rows": rows}, indent=1) + "\n")
    print(f"written: {options.out}")


if __name__ == "__main__":
    main()
