#!/usr/bin/env python3
"""Ways to bring a folded model back, at equal time: every method of the recipe, with the perplexity on its way.

usage: recovery_table.py RECIPE.toml [--only PATTERN…] [--jobs N] [--report] [--bin FOLDER]

Runs have one thread each. Folds and finished runs are kept in models/recipes/NAME, so an interrupted table goes on where it
was (runs from their last checkpoint). RECIPE.md is written from what is finished.
"""

import argparse
import concurrent.futures
import json
import pathlib
import shutil

from tables import chosen, made_from, metrics, rondo, table_main, toml, train, write_json, write_report


class Table:
    def __init__(self, recipe: dict, work: pathlib.Path, options: argparse.Namespace):
        self.recipe, self.work, self.options = recipe, work, options

    def fold(self, name: str) -> pathlib.Path:
        folder, numbers = self.work / f"fold-{name}", self.work / f"fold-{name}.json"
        arguments = [f"--{key}={value}" for key, value in self.recipe["fold"].items()] + self.recipe["folds"][name]
        settings = {"model": self.recipe["model"], "arguments": arguments}
        made = self.work / f"fold-{name}.made_from.json"
        if not made_from(made, settings):
            shutil.rmtree(folder, ignore_errors=True)
            write_json(numbers, rondo(self.options.bin, "fold", self.recipe["model"], "--out", folder, *arguments))
            write_json(made, settings)
        return folder

    def run(self, name: str) -> None:
        method = dict(self.recipe["methods"][name])
        start, align, minutes = self.fold(method.pop("fold")), method.pop("align", 0), self.recipe["minutes"]
        folder = self.work / name
        sections = {"model": str(start), "teacher": self.recipe["model"], "data": self.recipe["data"],
                    "valid": self.recipe["valid"], "train": self.recipe["train"],
                    "run": {"out": str(folder), "threads": 1, "checkpoint_minutes": 5.0, "keep": 1}}
        stages = [{"name": "align", "kind": "align", "minutes": align * minutes, "lr": method["lr"]}] if align else []
        stages.append({"name": "distil", "minutes": (1 - align) * minutes, **method})
        settings = {"stages": stages, **sections}
        if not made_from(folder / "made_from.json", settings):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            write_json(folder / "made_from.json", settings)
        if (folder / "model").exists():
            return
        train(self.options.bin, folder, toml(sections, stages))
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
        print(name, self.path_of(name), flush=True)

    def path_of(self, name: str) -> list[tuple[float, float]]:
        """Minutes and perplexity."""
        return [(line["seconds"] / 60, line["valid_perplexity"]) for line in metrics(self.work / name)
                if "valid_perplexity" in line]

    def go(self) -> None:
        wanted = [name for name in self.recipe["methods"] if chosen(name, self.options.only)]
        for fold in {self.recipe["methods"][name]["fold"] for name in wanted}:
            self.fold(fold)
        with concurrent.futures.ThreadPoolExecutor(self.options.jobs) as pool:
            list(pool.map(self.run, wanted))

    def report(self, path: pathlib.Path) -> None:
        show = self.recipe["show"]
        lines = ["Validation perplexity of what would be saved at that minute of training (in a gradual run without what still "
                 "fades, so its first numbers are the fold's).", "",
                 "| method | " + " | ".join(f"{minute} min" for minute in show) + " | tokens | fold, seconds |",
                 "|" + "---|" * (len(show) + 3)]
        for name, method in self.recipe["methods"].items():
            curve = self.path_of(name)
            if not (self.work / name / "model").exists():
                continue
            nearest = [min(curve, key=lambda point: abs(point[0] - minute))[1] for minute in show]
            fold = json.loads((self.work / f"fold-{method['fold']}.json").read_text())
            cells = [f"{value:,.0f}" if value >= 1000 else f"{value:.1f}" for value in nearest]
            lines.append(f"| {name} | " + " | ".join(cells) + f" | {metrics(self.work / name)[-1]['tokens']:,} | {fold['seconds']:.0f} |")
        write_report(path, lines)


if __name__ == "__main__":
    table_main(__doc__, Table)
