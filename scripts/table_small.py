#!/usr/bin/env python3
"""Remakes the tables of Relaxed Recursive Transformers (Bae et al., ICLR 2025) with a small model trained here: every
fold of the recipe trained on the same tokens, baselines, distillation, exits, repeated seeds.

Finished runs are kept with their settings in RECIPE.jsonl, so an interrupted table goes on where it was. RECIPE.md and
RECIPE.svg are written from what is finished. Models are deleted after they were measured, except the base, those that
others begin with, and those named by --keep.
"""

import argparse
import json
import pathlib
import random
import re
import shutil

import table_small_report
import tables
from tables import Points, run_all, table_main, toml


def point(key: str, start: dict, seed: int = 0, needs: str = "base", **train) -> dict:
    """One run: what it starts from, and what its training has of its own. `needs` must be finished before."""
    return {"key": key, "start": start, "seed": seed, "needs": needs, "train": train}


def fold_point(loops: int, start: str, rank: int, residual: str = "svd", seed: int = 0, order: str = "cycle",
               norms: str | None = None, label: str = "", **train) -> dict:
    key = f"B={loops} {start} r={rank}" + (f" {residual}" if rank else "")
    key += "".join(f" {word}" for word in (order if order != "cycle" else "", f"norms={norms}" if norms else "", label)
                   if word)
    fold = {"loops": loops, "init": start, "rank": rank, "residual": residual, "order": order, "norms": norms}
    return point(key, {"fold": fold}, seed, **train)


def with_seed(entry: dict, seed: int) -> dict:
    return {**entry, "key": f"{entry['key']} seed={seed}", "seed": seed}


def main_points(recipe: dict) -> list[dict]:
    table = recipe["table"]
    points = []
    for loops in table["loops"]:
        for rank in table["ranks"]:
            for start in table["starts"]:
                points += [fold_point(loops, start, rank, residual)
                           for residual in (["svd", "zero"] if rank else [""])]
    return points


def baseline_points(recipe: dict) -> list[dict]:
    """The full model on the same further tokens; half and third depth from scratch, cut out of the base, looped."""
    layers = recipe["init"]["layers"]
    scratch = {"lr": recipe["base"]["lr"]}
    points = [point("full", {"model": "base"})]
    for loops in recipe["table"]["loops"]:
        few = layers // loops
        points.append(point(f"scratch {few} layers", {"init": {"layers": few}}, needs="", **scratch))
        points.append(point(f"scratch {few} layers looped", {"init": {"layers": layers}, "looped": loops}, **scratch))
        points.append(point(f"cut {few} layers", {"cut": few}))
    few = layers // min(recipe["table"]["loops"])
    total = recipe["base"]["tokens"] + recipe["uptrain"]["tokens"]
    points.append(point(f"scratch {few} layers long", {"init": {"layers": few}}, needs="",
                        **scratch, tokens=total, text="base"))
    return points


def distillation_points(recipe: dict) -> list[dict]:
    rank = recipe["table"]["ranks"][recipe["table"]["middle"]]
    both = {"ce": 0.5, "kd": 0.5}
    only = {"ce": 0.0, "kd": 1.0}
    points = [fold_point(2, "average", rank, label="half kd", **both),
              fold_point(2, "stepwise", 0, label="half kd", **both)]
    for kind in ("forward-kl", "reverse-kl", "jensen-shannon", "total-variation"):
        points.append(fold_point(2, "average", rank, label=f"kd {kind}", divergence=kind, **only))
    return points


EXITS = {"control": {}, "weighted": {"exits": "weighted"}, "aggressive": {"exits": "aggressive"},
         "weighted kd": {"exits": "weighted", "exit_kd": 0.5},
         "aggressive kd": {"exits": "aggressive", "exit_kd": 0.5}}


def exit_points(recipe: dict) -> list[dict]:
    """Exits trained after the uptraining, on as many tokens again; and, for comparison, during twice as many."""
    rank = recipe["table"]["ranks"][recipe["table"]["middle"]]
    points = []
    for loops in recipe["table"]["loops"]:
        source = f"B={loops} average r={rank} svd"
        for name, loss in EXITS.items():
            points.append(point(f"{source} exits {name}", {"model": source}, seed=100, needs=source, **loss))
        for name in ("weighted", "aggressive"):
            points.append(fold_point(loops, "average", rank, label=f"joint {name}", **EXITS[name],
                                     tokens=2 * recipe["uptrain"]["tokens"]))
    return points


def other_points(recipe: dict) -> list[dict]:
    """Norms and orders of our own, beside the published ones."""
    rank = recipe["table"]["ranks"][recipe["table"]["middle"]]
    points = [fold_point(2, "stepwise", 0, norms="own"), fold_point(2, "average", rank, norms="own"),
              fold_point(2, "average", rank, norms="absorbed")]
    for order in ("sequence", "middle-cycle", "middle-sequence"):
        points += [fold_point(2, "stepwise", 0, order=order), fold_point(2, "average", rank, order=order)]
    return points


def all_points(recipe: dict) -> list[dict]:
    points = baseline_points(recipe) + main_points(recipe)
    by_key = {entry["key"]: entry for entry in points}
    table = recipe["table"]
    repeated = [with_seed(by_key[key], seed) for seed in table["seeds"] for key in table["repeated"]]
    long = by_key[f"scratch {recipe['init']['layers'] // min(table['loops'])} layers long"]
    points.remove(long)
    return points + repeated + distillation_points(recipe) + exit_points(recipe) + other_points(recipe) + [long]


class Table:
    def __init__(self, recipe: dict, work: pathlib.Path, points: Points, options: argparse.Namespace):
        self.recipe, self.work, self.points, self.options = recipe, work, points, options
        self.keep = {"base", *options.keep}

    def rondo(self, *arguments) -> dict:
        return tables.rondo(self.options.bin, *arguments)

    def settings(self, entry: dict) -> dict:
        """What a run's figures follow from; points with other settings do not count."""
        base = {name: self.recipe[name] for name in ("text", "init", "base", "valid")}
        if entry["key"] == "base":
            return base
        own = {name: entry[name] for name in ("start", "seed", "train")}
        return base | {"uptrain": self.recipe["uptrain"], "norms": self.recipe["table"]["norms"]} | own

    def has(self, entry: dict) -> bool:
        return self.points.has(entry["key"], self.settings(entry))

    def model(self, key: str) -> pathlib.Path:
        return self.work / "runs" / re.sub(r"[^A-Za-z0-9=.-]+", "_", key) / "model"

    # Texts and tokenizer

    def prepare(self) -> None:
        """Documents for the base and others for what follows, a tokenizer of the base's, and the validation text."""
        text = self.recipe["text"]
        if tables.made_from(self.work / "made_from.json", text):
            return
        documents = re.split(r"(?m)^(?== [^=].* =$)", tables.read_text(text["train"]))
        documents = [document for document in documents if document.strip()]
        random.Random(0).shuffle(documents)
        cut = int(text["base_share"] * len(documents))
        (self.work / "base.txt").write_text("".join(documents[:cut]))
        (self.work / "further.txt").write_text("".join(documents[cut:]))
        (self.work / "valid.txt").write_text(tables.read_text(text["valid"]))
        tables.train_tokenizer(documents[:cut][:text["tokenizer_documents"]], text["vocab"],
                               self.work / "tokenizer" / "tokenizer.json")
        tables.write_json(self.work / "made_from.json", text)

    # Runs

    def init(self, sizes: dict) -> dict:
        return {**self.recipe["init"], "tokenizer": str(self.work / "tokenizer"), **sizes}

    def train(self, folder: pathlib.Path, sections: dict, train: dict, text: str, seed: int, threads: int) -> list:
        """Runs or resumes rondo-train; returns the lines of its log."""
        data = {"files": [str(self.work / f"{text}.txt")], "unit": "heading", "cache": str(self.work / "cache"),
                "length": self.recipe["text"]["length"]}
        run = {"out": str(folder), "threads": threads, "seed": seed, "checkpoint_minutes": 1.0, "keep": 1}
        valid = {**self.recipe["valid"], "text": str(self.work / "valid.txt")}
        tables.train(self.options.bin, folder, toml({**sections, "data": data, "valid": valid, "run": run,
                                                     "train": train}))
        return tables.metrics(folder)

    def measured(self, lines: list, model: pathlib.Path) -> dict:
        valid = [line["valid_perplexity"] for line in lines if "valid_perplexity" in line]
        rates = sorted(line["tokens_per_s"] for line in lines if "tokens_per_s" in line)
        count = self.rondo("inspect", model)["parameters_non_embedding"]
        return {"parameters": count, "before": valid[0], "after": valid[-1], "tokens": lines[-1]["tokens"],
                "seconds": round(lines[-1]["seconds"], 1), "tokens_per_s": round(rates[len(rates) // 2])}

    def base(self) -> None:
        entry, folder = {"key": "base"}, self.model("base").parent
        if self.has(entry) and self.model("base").exists():
            return
        lines = self.train(folder, {"init": self.init({})}, {**self.recipe["base"], "ce": 1.0, "kd": 0.0}, "base",
                           seed=0, threads=self.options.threads)
        self.finish(entry, self.measured(lines, folder / "model"))

    def fold(self, fold: dict, seed: int, out: pathlib.Path) -> None:
        rank = ["--residual", "none"] if fold["rank"] == 0 else ["--rank", fold["rank"]]
        start = ["--residual-start", "zero"] if fold["residual"] == "zero" else []
        self.rondo("fold", self.model("base"), "--out", out, "--order", fold["order"], "--loops", fold["loops"],
                   "--init", fold["init"], "--norms", fold["norms"] or self.recipe["table"]["norms"],
                   "--seed", seed, *rank, *start)

    def cut(self, layers: int, out: pathlib.Path) -> None:
        """The layers that a stepwise fold would share, as a plain model without loops."""
        from safetensors.numpy import load_file, save_file
        plain = out.with_name("plain")
        self.rondo("export", self.model("base"), "--format", "hf", "--out", plain)
        tensors = load_file(plain / "model.safetensors")
        last = self.recipe["init"]["layers"] - 1
        chosen = [round(k * last / (layers - 1)) for k in range(layers)]  # halves to even, as the fold
        kept = {name: tensor for name, tensor in tensors.items() if ".layers." not in name}
        for new, old in enumerate(chosen):
            kept |= {name.replace(f".layers.{old}.", f".layers.{new}."): tensor for name, tensor in tensors.items()
                     if f".layers.{old}." in name}
        save_file(kept, plain / "model.safetensors", metadata={"format": "pt"})
        config = json.loads((plain / "config.json").read_text()) | {"num_hidden_layers": layers}
        (plain / "config.json").write_text(json.dumps(config))
        plain.rename(out)

    def sections(self, entry: dict, folder: pathlib.Path) -> dict:
        """What a run starts from, as a recipe says it."""
        start, model = entry["start"], folder / "start"
        shutil.rmtree(model, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        if "model" in start:
            return {"model": str(self.model(start["model"]))}
        if "init" in start:
            init = self.init({**start["init"], "seed": entry["seed"]})
            if "looped" in start:
                fold = {"loops": start["looped"], "init": "stepwise", "rank": 0, "residual": "", "order": "cycle",
                        "norms": None}
                self.fold(fold, 0, model)
                init["plan"] = str(folder / "plan.json")
                plan = json.loads((model / "config.json").read_text())["rondo"]
                pathlib.Path(init["plan"]).write_text(json.dumps(plan))
            return {"init": init}
        if "cut" in start:
            self.cut(start["cut"], model)
        else:
            self.fold(start["fold"], entry["seed"], model)
        return {"model": str(model)}

    def run(self, entry: dict) -> None:
        folder = self.model(entry["key"]).parent
        shutil.rmtree(folder, ignore_errors=True)
        sections = self.sections(entry, folder)
        train = {"ce": 1.0, "kd": 0.0, **self.recipe["uptrain"], **entry["train"]}
        text = train.pop("text", "further")
        if train["kd"] > 0:
            sections["teacher"] = str(self.model("base"))
        lines = self.train(folder, sections, train, text, entry["seed"], threads=1)
        result = self.measured(lines, folder / "model")
        if "exits" in entry["key"] or "joint" in entry["key"]:
            curve = self.rondo("calibrate-exit", folder / "model", "--text", self.work / "valid.txt", "--context",
                               self.recipe["valid"]["context"], "--max-tokens", self.recipe["valid"]["max_tokens"])
            result["loop_perplexity"] = [loop["perplexity"] for loop in curve["after_loop"]]
        self.finish(entry, result)

    def finish(self, entry: dict, result: dict) -> None:
        key = entry["key"]
        self.points.add(key, result, self.settings(entry))
        print(f"{key}: {result['before']:.1f} -> {result['after']:.2f}, {result['tokens_per_s']} tokens/s", flush=True)
        folder = self.model(key).parent
        for name in ("checkpoints", "start"):
            shutil.rmtree(folder / name, ignore_errors=True)
        if key not in self.keep:
            shutil.rmtree(folder, ignore_errors=True)

    def go(self) -> None:
        """Everything that is not finished yet: the base, what begins with it, then what begins with others."""
        entries = all_points(self.recipe)
        wanted = [entry for entry in entries if tables.chosen(entry["key"], self.options.only) and not self.has(entry)]
        later = [entry for entry in wanted if entry["needs"] not in ("", "base")]
        needed = {entry["needs"] for entry in later if not self.model(entry["needs"]).exists()}
        self.keep |= {entry["needs"] for entry in later}
        first = [entry for entry in entries if entry not in later and (entry in wanted or entry["key"] in needed)]
        if first or later:
            self.prepare()
            self.base()
        run_all(first, self.run, self.options)
        run_all([entry for entry in later if self.model(entry["needs"]).exists()], self.run, self.options)

    def report(self, path: pathlib.Path) -> None:
        entries = all_points(self.recipe)
        done = {entry["key"]: self.points.of[entry["key"]] for entry in [{"key": "base"}, *entries] if self.has(entry)}
        table_small_report.write(self.recipe, done, [entry["key"] for entry in entries], path)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--threads", type=int, default=2, metavar="N",
                        help="threads of the base; every other run has one")
    parser.add_argument("--keep", nargs="*", default=[], metavar="KEY", help="runs whose models stay")


if __name__ == "__main__":
    table_main(__doc__, Table, add_options)
