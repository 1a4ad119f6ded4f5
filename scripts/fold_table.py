#!/usr/bin/env python3
"""Runs a recipe and writes its table: of folds, non-embedding parameters against perplexity; of quantised
models (recipes with "models"), rounding to nearest against calibration.

usage: fold_table.py RECIPE.toml

Every finished point is kept with its settings in models/recipes/NAME/points.jsonl, so an interrupted run goes on
where it was. The table is written to RECIPE.md. Folds are deleted after they were measured.
"""

import json
import lzma
import pathlib
import shutil
import sys
import tomllib

from tables import BIN, ROOT, run


def rondo(*arguments) -> dict:
    """Runs one rondo command with --json, on all CPUs."""
    return json.loads(run([str(BIN / "rondo"), *map(str, arguments), "--json", "--quiet"]))


def unpacked(path: str, work: pathlib.Path) -> pathlib.Path:
    """The text of an .xz file as a plain file in `work`."""
    target = work / pathlib.Path(path).with_suffix("").name
    target.write_bytes(lzma.open(ROOT / path).read())
    return target


class Runner:
    def __init__(self, recipe: dict, work: pathlib.Path, log: pathlib.Path):
        self.recipe, self.work, self.log = recipe, work, log
        self.evaluate = unpacked(recipe["text"]["evaluate"], work)
        self.calibrate = unpacked(recipe["text"]["calibrate"], work)
        lines = log.read_text().splitlines() if log.exists() else []
        # Points of other texts, token counts or models do not count.
        self.settings = {name: recipe[name] for name in ("model", "loops", "text") if name in recipe}
        self.done = {entry["key"]: entry for entry in map(json.loads, lines)
                     if entry.get("settings") == self.settings}

    def perplexity(self, model) -> float | None:
        text = self.recipe["text"]
        return rondo("eval", model, "--text", self.evaluate, "--context", text["context"],
                     "--max-tokens", text["max_tokens"])["perplexity"]

    def keep(self, key: str, entry: dict) -> dict:
        self.done[key] = {"key": key, **entry, "settings": self.settings}
        with open(self.log, "a") as file:
            file.write(json.dumps(self.done[key]) + "\n")
        print(json.dumps(self.done[key]), flush=True)
        return self.done[key]

    def original(self) -> dict:
        if "original" in self.done:
            return self.done["original"]
        model = ROOT / self.recipe["model"]
        count = rondo("inspect", model)["parameters_non_embedding"]
        return self.keep("original", {"parameters": count, "perplexity": self.perplexity(model)})

    def fold(self, out, order: str, rank: int, calibrated: bool) -> dict:
        residual = ["--residual", "none"] if rank == 0 else ["--rank", rank]
        calibrate = ["--calibrate", self.calibrate, "--calibrate-tokens",
                     self.recipe["text"]["calibrate_tokens"]] if calibrated else []
        return rondo("fold", ROOT / self.recipe["model"], "--out", out, "--order", order, "--loops",
                     self.recipe["loops"], *residual, *calibrate)

    def point(self, order: str, rank: int, calibrated: bool) -> dict:
        key = f"{order} rank {rank} {'calibrated' if calibrated else 'data-free'}"
        if key in self.done:
            return self.done[key]
        out = self.work / "fold"
        fold = self.fold(out, order, rank, calibrated)
        entry = {"parameters": fold["parameters_non_embedding"], "perplexity": self.perplexity(out),
                 "seconds": round(fold["seconds"], 1), "peak_memory_bytes": fold["peak_memory_bytes"]}
        shutil.rmtree(out)
        return self.keep(key, entry)

    def quantized(self, model: dict, kind: str, calibrated: bool) -> dict:
        """One quantised file of a model of the recipe; its fold is made once and kept until the end."""
        key = f"{model['name']} {kind} {'calibrated' if calibrated else 'nearest'}"
        if key in self.done:
            return self.done[key]
        source = ROOT / self.recipe["model"]
        if "order" in model:
            source = self.work / model["name"].replace(" ", "-")
            if not source.exists():
                self.fold(source, model["order"], model["rank"], model["calibrated"])
        text = self.recipe["text"]
        calibrate = ["--calibrate", self.calibrate, "--calibrate-tokens",
                     text["calibrate_tokens"]] if calibrated else []
        out = self.work / "quantized.gguf"
        report = rondo("quantize", source, "--type", kind, "--out", out, "--evaluate", self.evaluate,
                       "--evaluate-context", text["context"], "--evaluate-tokens", text["max_tokens"],
                       *calibrate)
        out.unlink()
        names = ["bytes", "perplexity_before", "perplexity", "kl", "top1_agreement", "hidden_error",
                 "loop_of_depth", "peak_memory_bytes"]
        return self.keep(key, {name: report[name] for name in names} |
                         {"seconds": round(report["seconds"], 1)})


def table(runner: Runner) -> str:
    recipe = runner.recipe
    original = runner.original()
    lines = [f"Full model: {original['parameters'] / 1e6:.1f}M non-embedding parameters, perplexity "
             f"{original['perplexity']:.2f}.", "",
             "| order | rank | parameters | data-free | calibrated | fold time (data-free, calibrated) |",
             "|---|---|---|---|---|---|"]
    for order in recipe["orders"]:
        for rank in recipe["ranks"]:
            free, fitted = (runner.point(order, rank, flag) for flag in (False, True))
            show = lambda p: "overflow" if p["perplexity"] is None else f"{p['perplexity']:,.1f}"
            lines.append(f"| {order} | {rank} | {fitted['parameters'] / 1e6:.1f}M | {show(free)} | "
                         f"{show(fitted)} | {free['seconds']:.0f} s, {fitted['seconds']:.0f} s |")
    return "\n".join(lines) + "\n"


def last_of_loops(entry: dict) -> str:
    """Error of the hidden states behind the last depth that is in each loop."""
    last = dict(zip(entry["loop_of_depth"], entry["hidden_error"]))
    return " → ".join(f"{last[loop]:.3f}" for loop in sorted(last))


def quantize_table(runner: Runner) -> str:
    lines = ["Perplexity, KL divergence from the unquantised model (nats a token), agreement of the most likely "
             "token, and the relative error of the hidden states behind the last depth of each loop.", "",
             "| model | type | MB | unquantised | rounding | perplexity | KL | top-1 | hidden error | time |",
             "|---|---|---|---|---|---|---|---|---|---|"]
    for model in runner.recipe["models"]:
        for kind in runner.recipe["types"]:
            for calibrated in (False, True):
                e = runner.quantized(model, kind, calibrated)
                lines.append(
                    f"| {model['name']} | {kind} | {e['bytes'] / 1e6:.1f} | {e['perplexity_before']:.2f} | "
                    f"{'loop-aware' if calibrated else 'to nearest'} | {e['perplexity']:.2f} | {e['kl']:.4f} | "
                    f"{100 * e['top1_agreement']:.1f} % | {last_of_loops(e)} | {e['seconds']:.0f} s |")
    return "\n".join(lines) + "\n"


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    path = pathlib.Path(sys.argv[1])
    work = ROOT / "models" / "recipes" / path.stem
    work.mkdir(parents=True, exist_ok=True)
    runner = Runner(tomllib.loads(path.read_text()), work, work / "points.jsonl")
    text = f"# {path.stem}\n\nMade by `scripts/fold_table.py {path.name}`; see the recipe for data and settings.\n\n"
    make = quantize_table if "models" in runner.recipe else table
    path.with_suffix(".md").write_text(text + make(runner))
    print(f"written: {path.with_suffix('.md')}")


if __name__ == "__main__":
    main()
