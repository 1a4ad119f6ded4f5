#!/usr/bin/env python3
"""Makes a table of ways to train a fold: every method of the recipe for the same time, with the perplexity on its way.

Finished runs are kept with their settings in RECIPE.jsonl, folds in models/recipes/NAME. So an interrupted table goes
on where it was, and a run from its last checkpoint. RECIPE.md is written from what is finished.
"""

import argparse
import json
import pathlib
import shutil

from tables import (Points, chosen, made_from, markdown, metrics, rondo, run_all, table_main, toml, train, write_json,
                    write_report)


class Table:
    def __init__(self, recipe: dict, work: pathlib.Path, points: Points, options: argparse.Namespace):
        self.recipe, self.work, self.points, self.options = recipe, work, points, options

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

    def sections(self, name: str) -> dict:
        return {"model": str(self.work / f"fold-{self.recipe['methods'][name]['fold']}"),
                "teacher": self.recipe["model"], "data": self.recipe["data"], "valid": self.recipe["valid"],
                "train": self.recipe["train"],
                "run": {"out": str(self.work / name), "threads": 1, "checkpoint_minutes": 5.0, "keep": 1}}

    def stages(self, name: str) -> list[dict]:
        method, minutes = dict(self.recipe["methods"][name]), self.recipe["minutes"]
        method.pop("fold")
        align = method.pop("align", 0)
        first = [{"name": "align", "kind": "align", "minutes": align * minutes, "lr": method["lr"]}] if align else []
        return [*first, {"name": "distil", "minutes": (1 - align) * minutes, **method}]

    def settings(self, name: str) -> dict:
        fold = {**self.recipe["fold"], "options": self.recipe["folds"][self.recipe["methods"][name]["fold"]]}
        return {"stages": self.stages(name), "fold": fold, **self.sections(name)}

    def run(self, name: str) -> None:
        folder, settings = self.work / name, self.settings(name)
        if not made_from(folder / "made_from.json", settings):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            write_json(folder / "made_from.json", settings)
        train(self.options.bin, folder, toml(self.sections(name), self.stages(name)))
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
        lines = metrics(folder)
        path = [(line["seconds"] / 60, line["valid_perplexity"]) for line in lines if "valid_perplexity" in line]
        fold = json.loads((self.work / f"fold-{self.recipe['methods'][name]['fold']}.json").read_text())
        self.points.add(name, {"path": path, "tokens": lines[-1]["tokens"], "fold_seconds": fold["seconds"]}, settings)
        print(name, path, flush=True)

    def go(self) -> None:
        wanted = [name for name in self.recipe["methods"] if chosen(name, self.options.only)
                  and not self.points.has(name, self.settings(name))]
        for fold in {self.recipe["methods"][name]["fold"] for name in wanted}:
            self.fold(fold)
        run_all(wanted, self.run, self.options)

    def report(self, path: pathlib.Path) -> None:
        show = self.recipe["show"]
        rows = []
        for name in self.recipe["methods"]:
            if not self.points.has(name, self.settings(name)):
                continue
            run = self.points.of[name]
            nearest = [min(run["path"], key=lambda point: abs(point[0] - minute))[1] for minute in show]
            cells = [f"{value:,.0f}" if value >= 1000 else f"{value:.1f}" for value in nearest]
            rows.append([name, *cells, f"{run['tokens']:,}", f"{run['fold_seconds']:.0f}"])
        header = ["method", *(f"{minute} min" for minute in show), "tokens", "fold, seconds"]
        what = ("Validation perplexity after so many minutes of training. In a gradual run it is that of the model "
                "as it would be saved, without what still fades: its first numbers are the fold's.")
        write_report(path, [what, "", *markdown(header, rows)])


if __name__ == "__main__":
    table_main(__doc__, Table)
