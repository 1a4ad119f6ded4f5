#!/usr/bin/env python3
"""A streaming speech encoder with shared matrices beside the same one without: real-time factor and memory at batch 1.

The published size (Wang and Li 2024): 18 layers of 512 and 2048, CTC head, 4x subsampling, so that a chunk of n
positions is 40 n ms of sound; residuals of rank 2 with diagonals. Weights are random: what is measured does not depend
on them. The unshared model is made once by `rondo train` (one step), the others from it by `rondo fold`, under
models/bench. Models run in turn on the same noise; the table shows the median over rounds of the work a second of sound
takes, and of the ratios taken inside a round.
"""

import argparse
import json
import pathlib
import random
import shutil
import statistics
import tempfile

from peers import ROOT, RONDO, run

FILES = ROOT / "models" / "bench" / "speech"
LEFT_SECONDS = 5.12  # of context at every chunk size

RECIPE = """
[speech]
train = "{data}/kathleen.tsv"
audio = "{data}/kathleen.tar"
layers = 18
d_model = 512
d_ff = 2048
heads = 8
chunk = 16
left_chunks = 8
[run]
out = "{out}"
[train]
steps = 1
"""


def unshared() -> pathlib.Path:
    model = FILES / "unshared"
    if not model.exists():
        FILES.mkdir(parents=True, exist_ok=True)
        recipe, out = FILES / "recipe.toml", FILES / "run"
        shutil.rmtree(out, ignore_errors=True)
        recipe.write_text(RECIPE.format(data=ROOT / "tests" / "data" / "speech", out=out))
        run(RONDO, "train", recipe, "--quiet")
        (out / "model").rename(model)
        shutil.rmtree(out)
    return model


def shared(share: int) -> pathlib.Path:
    model = FILES / f"K{share}"
    if share == 1:
        return unshared()
    if not model.exists():
        run(RONDO, "fold", unshared(), "--out", model, "--order", "sequence", "--loops", share,
            "--residual", "lora-diag", "--rank", 2,
            "--quiet")
    return model


def with_chunk(model: pathlib.Path, chunk: int) -> pathlib.Path:
    """The model with another chunk, its weights linked."""
    target = FILES / f"{model.name}-chunk{chunk}"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    for file in model.iterdir():
        if file.name != "config.json":
            (target / file.name).symlink_to(file.resolve())
    config = json.loads((model / "config.json").read_text())
    config["speech"]["attention"] = {"chunk": chunk, "left_chunks": round(LEFT_SECONDS / 0.04 / chunk)}
    (target / "config.json").write_text(json.dumps(config))
    return target


def measure(model: pathlib.Path, kind: str, sound, threads: int) -> dict:
    sound.seek(0)
    lines = run(RONDO, "transcribe", model, "-", "--stream", "--partial", 3600, "--no-words", "--json", "--type", kind,
                "--threads", threads,
                stdin=sound).strip().splitlines()
    return json.loads(lines[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--types", default="f32,q8_0,q4_0", help="weight types in memory")
    parser.add_argument("--chunks", default="1,4,16", help="positions of a chunk, 40 ms of sound each")
    parser.add_argument("--share", default="3,6,9", help="how many adjacent layers share weights")
    parser.add_argument("--seconds", type=float, default=30, help="length of the noise")
    parser.add_argument("--rounds", type=int, default=3, help="times that every model is measured")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=pathlib.Path, help="JSON file for all figures")
    options = parser.parse_args()
    generator = random.Random(1)
    sound = tempfile.TemporaryFile()
    sound.write(b"".join(generator.randint(-3000, 3000).to_bytes(2, "little", signed=True)
                         for _ in range(int(16000 * options.seconds))))
    shares = [1, *map(int, options.share.split(","))]
    print("| chunk | type | K | weights, MB | peak memory, MB | arena peak, MB | real-time factor | "
          "unshared / shared |")
    print("|---|---|---|---|---|---|---|---|")
    results = []
    for chunk in map(int, options.chunks.split(",")):
        models = {share: with_chunk(shared(share), chunk) for share in shares}
        for kind in options.types.split(","):
            rounds = [{share: measure(models[share], kind, sound, options.threads)
                       for share in (shares if i % 2 == 0 else shares[::-1])} for i in range(options.rounds)]
            for share in shares:
                factors = [one[share]["real_time_factor"] for one in rounds]
                ratio = statistics.median(one[1]["real_time_factor"] / one[share]["real_time_factor"] for one in rounds)
                last = rounds[-1][share]
                results.append({"chunk": chunk, "type": kind, "share": share, "real_time_factors": factors,
                                "ratio": ratio, **last})
                print(f"| {chunk} ({40 * chunk} ms) | {kind} | {share} | {last['weight_bytes'] / 1e6:.1f} | "
                      f"{last['peak_memory_bytes'] / 1e6:.0f} | {last['arena_peak_bytes'] / 1e6:.1f} | "
                      f"{statistics.median(factors):.4f} | {ratio:.2f} |", flush=True)
    if options.out:
        options.out.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
