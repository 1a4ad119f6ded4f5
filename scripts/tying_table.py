#!/usr/bin/env python3
"""Makes a table of layers that tie themselves beside conventional training and fixed ties: every variant on every text.

Finished runs are kept with their settings in RECIPE.jsonl, so an interrupted table goes on where it was. RECIPE.md is
written from what is finished.
"""

import argparse
import json
import math
import pathlib
import re
import shutil
import statistics

from tables import (Points, chosen, made_from, markdown, metrics, read_text, rondo, run_all, table_main, toml, train,
                    train_tokenizer, write_json, write_report)


def entries(recipe: dict) -> list[dict]:
    """The first seed of everything, then the others."""
    found = []
    for seed in recipe["table"]["seeds"]:
        for text in recipe["texts"]:
            found += [{"key": f"{text} {name} seed={seed}", "text": text, "variant": name, "seed": seed, "deep": False}
                      for name in recipe["variants"]]
        found += [{"key": f"deep {name} seed={seed}", "text": next(iter(recipe["texts"])), "variant": name,
                   "seed": seed, "deep": True}
                  for name in recipe["table"]["deep"]]
    return found


class Table:
    def __init__(self, recipe: dict, work: pathlib.Path, points: Points, options: argparse.Namespace):
        self.recipe, self.work, self.points, self.options = recipe, work, points, options

    def prepare(self, name: str) -> None:
        folder, text = self.work / name, self.recipe["texts"][name]
        if made_from(folder / "made_from.json", self.text_settings(name)):
            return
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        train = read_text(text["train"])[: int(text.get("megabytes", 1000) * 1e6)]
        if "held_out" in text:
            cut = int(len(train) * (1 - text["held_out"]))
            train, valid = train[:cut], train[cut:]
        else:
            valid = read_text(text["valid"])
        (folder / "train.txt").write_text(train)
        (folder / "valid.txt").write_text(valid)
        train_tokenizer([train[:2_000_000]], self.recipe["text"]["vocab"], folder / "tokenizer" / "tokenizer.json")
        write_json(folder / "made_from.json", self.text_settings(name))

    def text_settings(self, name: str) -> dict:
        return {**self.recipe["texts"][name], "vocab": self.recipe["text"]["vocab"]}

    def settings(self, entry: dict) -> dict:
        return {**self.sections(entry), "text": self.text_settings(entry["text"])}

    def sections(self, entry: dict) -> dict:
        folder = self.work / entry["text"]
        init = {**self.recipe["init"], "tokenizer": str(folder / "tokenizer"), "seed": entry["seed"]}
        train = dict(self.recipe["train"])
        if entry["deep"]:
            deep = self.recipe["deep"]
            init |= {key: deep[key] for key in ("layers", "d_model", "heads")}
            train |= {key: deep[key] for key in ("steps", "batch")}
        tying = {"start": "frozen", **self.recipe["variants"][entry["variant"]]}
        if self.is_suggested(entry):
            tying["plan"] = str(self.run_folder(entry) / "plan.json")
        data = {"files": [str(folder / "train.txt")], "unit": "file", "cache": str(folder / "cache"),
                "length": self.recipe["text"]["length"]}
        run = {"out": str(self.run_folder(entry)), "threads": 1, "seed": entry["seed"], "checkpoint_minutes": 2.0,
               "keep": 1}
        return {"init": init, "tying": tying, "data": data,
                "valid": {**self.recipe["valid"], "text": str(folder / "valid.txt")}, "run": run, "train": train}

    def text_of(self, entry: dict) -> str:
        """What rondo train reads: a policy ties layers that were independent, however they start."""
        sections = self.sections(entry)
        if sections["tying"]["mode"] == "fixed":
            sections["tying"].pop("start")
        return toml(sections)

    def run_folder(self, entry: dict) -> pathlib.Path:
        return self.work / "runs" / re.sub(r"[^A-Za-z0-9=.-]+", "_", entry["key"])

    def is_suggested(self, entry: dict) -> bool:
        return self.recipe["variants"][entry["variant"]].get("plan") == "suggested"

    def suggest(self, entry: dict) -> None:
        """What `rondo fold --suggest` proposes for the untied model of this text and seed, at half its parameters."""
        untied = {**entry, "variant": "conventional", "key": entry["key"].replace(entry["variant"], "conventional")}
        model, folder = self.run_folder(untied) / "model", self.run_folder(entry)
        if not model.exists():
            train(self.options.bin, self.run_folder(untied), self.text_of(untied))
        text = self.work / entry["text"] / "train.txt"
        found = rondo(self.options.bin, "fold", model, "--suggest", "--residual", "none", "--calibrate", text,
                      "--calibrate-tokens", 16384,
                      "--calibrate-context", self.recipe["text"]["length"], "--out", folder / "suggest")
        half = rondo(self.options.bin, "inspect", model)["parameters_non_embedding"] / 2
        nearest = min(found["suggestions"], key=lambda plan: abs(plan["parameters_non_embedding"] - half))
        shutil.copy(nearest["plan"], folder / "plan.json")

    def run(self, entry: dict) -> None:
        folder = self.run_folder(entry)
        if self.is_suggested(entry) and not (folder / "plan.json").exists():
            self.suggest(entry)
        train(self.options.bin, folder, self.text_of(entry))
        lines = metrics(folder)
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
        self.points.add(entry["key"], measured(lines), self.settings(entry))
        print(entry["key"], json.dumps({k: v for k, v in measured(lines).items() if k != "curve"}), flush=True)

    def go(self) -> None:
        wanted = [entry for entry in entries(self.recipe) if chosen(entry["key"], self.options.only)
                  and not self.points.has(entry["key"], self.settings(entry))]
        for text in {entry["text"] for entry in wanted}:
            self.prepare(text)
        for suggested in (False, True):  # suggestions look at models that others have trained
            run_all([entry for entry in wanted if self.is_suggested(entry) == suggested], self.run, self.options)

    def report(self, path: pathlib.Path) -> None:
        report_of(self.recipe, self.points.of, path)


def measured(lines: list[dict]) -> dict:
    steps = [line for line in lines if "loss" in line and "event" not in line]
    curve = [[line["step"], line["valid_perplexity"], line["seconds"]] for line in lines if "valid_perplexity" in line]
    half = steps[len(steps) // 2:]
    return {"perplexity": curve[-1][1], "curve": curve,
            "independent": statistics.mean(line["independent_layers"] for line in half),
            "independent_end": steps[-1]["independent_layers"],
            "trained": statistics.mean(line["trained_parameters"] for line in half),
            "stored": steps[-1]["stored_parameters"],
            "peak_bytes": max(line["training_bytes"] for line in steps),
            "mean_bytes": statistics.mean(line["training_bytes"] for line in half),
            "resident": statistics.mean(line["resident_bytes"] for line in half),
            "tokens_per_s": steps[-1]["tokens"] / steps[-1]["seconds"], "seconds": steps[-1]["seconds"]}


def spread(values: list[float], digits: int) -> str:
    if len(values) == 1:
        return f"{values[0]:.{digits}f}"
    return f"{statistics.mean(values):.{digits}f} ± {(max(values) - min(values)) / 2:.{digits}f}"


def at_time(run: dict, seconds: float) -> float:
    """Validation perplexity so long after the start, between two points of the curve geometrically."""
    points = [(time, math.log(value)) for _, value, time in run["curve"]]
    for (begin, first), (end, last) in zip(points, points[1:]):
        if seconds <= end:
            return math.exp(first + (last - first) * (seconds - begin) / (end - begin))
    return run["perplexity"]


def report_of(recipe: dict, done: dict, path: pathlib.Path) -> None:
    lines = ["Means over seeds and half the range between them. Independent layers, trained parameters and memory "
             "(weights, gradients and optimiser) are means of the second half of a run; the peak is over all of it. "
             "Equal time: when the first run of the same text and seed has made all its steps.", ""]
    header = ["ties", "seeds", "perplexity at equal steps", "at equal time", "independent layers", "trained parameters",
              "stored at the end", "training memory, mean / peak MB", "resident MB", "tokens/s"]
    titles = {text: text for text in recipe["texts"]} | {"deep": f"{recipe['deep']['layers']} layers"}
    for prefix, title in titles.items():
        rows = []
        ends: dict[int, float] = {}  # of the fastest run of every seed
        for key, run in done.items():
            if key.startswith(f"{prefix} "):
                seed = run["settings"]["run"]["seed"]
                ends[seed] = min(ends.get(seed, run["seconds"]), run["seconds"])
        for variant in recipe["variants"]:
            runs = [run for key, run in done.items() if re.fullmatch(rf"{prefix} {variant} seed=\d+", key)]
            if not runs:
                continue
            column = {name: [run[name] for run in runs] for name in runs[0] if name not in ("key", "settings", "curve")}
            timed = [at_time(run, ends[run["settings"]["run"]["seed"]]) for run in runs]
            rows.append([variant, len(runs), spread(column["perplexity"], 2), spread(timed, 2),
                         spread(column["independent"], 1),
                         f"{statistics.mean(column['trained']):,.0f}", f"{statistics.mean(column['stored']):,.0f}",
                         f"{statistics.mean(column['mean_bytes']) / 1e6:.2f} / {max(column['peak_bytes']) / 1e6:.2f}",
                         f"{statistics.mean(column['resident']) / 1e6:.0f}",
                         f"{statistics.median(column['tokens_per_s']):,.0f}"])
        if rows:
            lines += [f"## {title}", "", *markdown(header, rows)]
    write_report(path, lines)


if __name__ == "__main__":
    table_main(__doc__, Table)
