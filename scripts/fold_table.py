#!/usr/bin/env python3
"""Makes a table of folds: non-embedding parameters against perplexity, from the weights alone and calibrated.
Of a recipe with [[models]] it makes a table of quantised models: rounding to nearest against loop-aware calibration.

Every finished point is kept with its settings in RECIPE.jsonl, so an interrupted table goes on where it was.
RECIPE.md is written from what is finished. A fold is deleted after it was measured. A run uses all CPUs.
"""

import argparse
import json
import pathlib
import shutil

from tables import Points, chosen, markdown, read_text, rondo, run_all, table_main, write_report


def calibration_name(calibrated: bool) -> str:
    return "calibrated" if calibrated else "data-free"


class Runner:
    """What both kinds of tables need: rondo on all CPUs, and the two texts as plain files."""

    def __init__(self, recipe: dict, work: pathlib.Path, points: Points, options: argparse.Namespace):
        self.recipe, self.work, self.points, self.options = recipe, work, points, options
        # Points of other texts, token counts or models do not count.
        self.settings = {name: recipe[name] for name in ("model", "loops", "text") if name in recipe}

    def rondo(self, *arguments) -> dict:
        return rondo(self.options.bin, *arguments, threads=0)

    def unpacked(self, name: str) -> pathlib.Path:
        path = self.work / pathlib.Path(self.recipe["text"][name]).with_suffix("").name
        path.write_text(read_text(self.recipe["text"][name]))
        return path

    def go(self) -> None:
        self.evaluate, self.calibrate = self.unpacked("evaluate"), self.unpacked("calibrate")
        wanted = [entry for entry in self.entries() if chosen(entry["key"], self.options.only)
                  and not self.points.has(entry["key"], self.settings)]
        run_all(wanted, self.run, self.options)

    def run(self, entry: dict) -> None:
        self.points.add(entry["key"], self.measure(entry), self.settings)
        print(json.dumps(self.points.of[entry["key"]]), flush=True)

    def finished(self, key: str) -> dict | None:
        return self.points.of[key] if self.points.has(key, self.settings) else None

    def fold(self, out, order: str, rank: int, calibrated: bool) -> dict:
        residual = ["--residual", "none"] if rank == 0 else ["--rank", rank]
        return self.rondo("fold", self.recipe["model"], "--out", out, "--order", order, "--loops", self.recipe["loops"],
                          *residual, *self.calibration(calibrated))

    def calibration(self, calibrated: bool) -> list:
        return ["--calibrate", self.calibrate, "--calibrate-tokens",
                self.recipe["text"]["calibrate_tokens"]] if calibrated else []


class FoldTable(Runner):
    def entries(self) -> list[dict]:
        return [{"key": "original"}] + [
            {"key": f"{order} rank {rank} {calibration_name(flag)}", "order": order, "rank": rank, "calibrated": flag}
            for order in self.recipe["orders"] for rank in self.recipe["ranks"] for flag in (False, True)]

    def perplexity(self, model) -> float | None:
        text = self.recipe["text"]
        return self.rondo("eval", model, "--text", self.evaluate, "--context", text["context"],
                          "--max-tokens", text["max_tokens"])["perplexity"]

    def measure(self, entry: dict) -> dict:
        if entry["key"] == "original":
            model = self.recipe["model"]
            return {"parameters": self.rondo("inspect", model)["parameters_non_embedding"],
                    "perplexity": self.perplexity(model)}
        out = self.work / "fold"
        fold = self.fold(out, entry["order"], entry["rank"], entry["calibrated"])
        values = {"parameters": fold["parameters_non_embedding"], "perplexity": self.perplexity(out),
                  "seconds": round(fold["seconds"], 1), "peak_memory_bytes": fold["peak_memory_bytes"]}
        shutil.rmtree(out)
        return values

    def report(self, path: pathlib.Path) -> None:
        lines, rows = [], []
        if original := self.finished("original"):
            lines = [f"Full model: {original['parameters'] / 1e6:.1f}M non-embedding parameters, perplexity "
                     f"{original['perplexity']:.2f}.", ""]
        for order in self.recipe["orders"]:
            for rank in self.recipe["ranks"]:
                both = [self.finished(f"{order} rank {rank} {calibration_name(flag)}") for flag in (False, True)]
                if any(both):
                    size = next(point["parameters"] for point in both if point)
                    rows.append([order, rank, f"{size / 1e6:.1f}M", *map(shown_perplexity, both),
                                 ", ".join(f"{point['seconds']:.0f} s" if point else "–" for point in both)])
        lines += markdown(["order", "rank", "parameters", "data-free", "calibrated",
                           "fold time (data-free, calibrated)"], rows)
        write_report(path, lines)


def shown_perplexity(point: dict | None) -> str:
    if point is None:
        return "–"
    return "overflow" if point["perplexity"] is None else f"{point['perplexity']:,.1f}"


class QuantizeTable(Runner):
    def entries(self) -> list[dict]:
        return [{"key": f"{model['name']} {kind} {'calibrated' if flag else 'nearest'}", "model": model, "type": kind,
                 "calibrated": flag}
                for model in self.recipe["models"] for kind in self.recipe["types"] for flag in (False, True)]

    def source(self, model: dict) -> str | pathlib.Path:
        """The model of a row; its fold is made once and kept."""
        if "order" not in model:
            return self.recipe["model"]
        folder = self.work / model["name"].replace(" ", "-")
        if not folder.exists():
            self.fold(folder, model["order"], model["rank"], model["calibrated"])
        return folder

    def measure(self, entry: dict) -> dict:
        text, out = self.recipe["text"], self.work / "quantized.gguf"
        report = self.rondo("quantize", self.source(entry["model"]), "--type", entry["type"], "--out", out,
                            "--evaluate", self.evaluate, "--evaluate-context", text["context"],
                            "--evaluate-tokens", text["max_tokens"], *self.calibration(entry["calibrated"]))
        out.unlink()
        names = ["bytes", "perplexity_before", "perplexity", "kl", "top1_agreement", "hidden_error",
                 "loop_of_depth", "peak_memory_bytes"]
        return {name: report[name] for name in names} | {"seconds": round(report["seconds"], 1)}

    def report(self, path: pathlib.Path) -> None:
        rows = []
        for entry in self.entries():
            point = self.finished(entry["key"])
            if point is None:
                continue
            rows.append([entry["model"]["name"], entry["type"], f"{point['bytes'] / 1e6:.1f}",
                         f"{point['perplexity_before']:.2f}", "loop-aware" if entry["calibrated"] else "to nearest",
                         f"{point['perplexity']:.2f}", f"{point['kl']:.4f}", f"{100 * point['top1_agreement']:.1f} %",
                         last_of_loops(point), f"{point['seconds']:.0f} s"])
        header = ["model", "type", "MB", "unquantised", "rounding", "perplexity", "KL", "top-1", "hidden error", "time"]
        what = ("Perplexity, KL divergence from the unquantised model (nats a token), agreement of the most likely "
                "token, and the relative error of the hidden states behind the last depth of each loop.")
        write_report(path, [what, "", *markdown(header, rows)])


def last_of_loops(point: dict) -> str:
    """Error of the hidden states behind the last depth that is in each loop."""
    last = dict(zip(point["loop_of_depth"], point["hidden_error"]))
    return " → ".join(f"{last[loop]:.3f}" for loop in sorted(last))


def table(recipe: dict, *rest) -> Runner:
    return (QuantizeTable if "models" in recipe else FoldTable)(recipe, *rest)


if __name__ == "__main__":
    table_main(__doc__, table, parallel=False)
