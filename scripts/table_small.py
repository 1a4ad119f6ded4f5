#!/usr/bin/env python3
"""Remakes the tables of Relaxed Recursive Transformers (Bae et al., ICLR 2025) with a small model trained here:
every fold of the recipe uptrained on the same tokens, baselines, distillation, exits, repeated seeds.

usage: table_small.py RECIPE.toml [--minutes M] [--only PATTERN…] [--keep KEY…] [--report] [--threads N] [--bin FOLDER]

Every finished run is kept with its settings in models/recipes/NAME/points.jsonl, so an interrupted table goes on where
it was; with --minutes no run is begun after so many. RECIPE.md and RECIPE.svg are written from what is finished
(--report: only that). Models are deleted after they were measured, except the base and those named by --keep.
"""

import argparse
import concurrent.futures
import json
import lzma
import pathlib
import random
import re
import shutil
import subprocess
import sys
import threading
import time
import tomllib

import tables
import table_small_report
from tables import BIN, ROOT, toml

class Stopped(Exception):
    """The minutes are over."""


def rondo(*arguments) -> dict:
    return tables.rondo(BIN, *arguments)


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
    def __init__(self, recipe: dict, work: pathlib.Path, options: argparse.Namespace):
        self.recipe, self.work, self.keep = recipe, work, {"base", *options.keep}
        self.base_threads, self.only = options.threads, options.only
        self.deadline = time.monotonic() + 60 * options.minutes if options.minutes else float("inf")
        self.log = work / "points.jsonl"
        self.lock = threading.Lock()
        # Runs of other texts or sizes do not count.
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        self.done = {entry["key"]: entry for entry in map(json.loads, lines)
                     if entry["settings"] == self.settings(entry["key"])}

    def settings(self, key: str) -> dict:
        base = {name: self.recipe[name] for name in ("text", "init", "base", "valid")}
        own = {"uptrain": self.recipe["uptrain"], "norms": self.recipe["table"]["norms"]}
        return base if key == "base" else base | own

    def model(self, key: str) -> pathlib.Path:
        return self.work / "runs" / re.sub(r"[^A-Za-z0-9=.-]+", "_", key) / "model"

    def has(self, entry: dict) -> bool:
        key = entry["key"]
        return key in self.done and (key not in self.keep or self.model(key).exists())

    def is_wanted(self, key: str) -> bool:
        return tables.chosen(key, self.only)

    # Texts and tokenizer

    def prepare(self) -> None:
        """Documents for the base, others for what follows, and a tokenizer of the base's documents."""
        text = self.recipe["text"]
        tokenizer = self.work / "tokenizer" / "tokenizer.json"
        if tables.made_from(self.work / "made_from.json", text):
            return
        documents = re.split(r"(?m)^(?== [^=].* =$)", lzma.open(ROOT / text["train"]).read().decode())
        documents = [document for document in documents if document.strip()]
        random.Random(0).shuffle(documents)
        cut = int(text["base_share"] * len(documents))
        (self.work / "base.txt").write_text("".join(documents[:cut]))
        (self.work / "further.txt").write_text("".join(documents[cut:]))
        tables.train_tokenizer(documents[:cut][:text["tokenizer_documents"]], text["vocab"], tokenizer)
        tables.write_json(self.work / "made_from.json", text)

    # Runs

    def init(self, sizes: dict) -> dict:
        return {**self.recipe["init"], "tokenizer": str(self.work / "tokenizer"), **sizes}

    def train(self, folder: pathlib.Path, sections: dict, train: dict, text: str, seed: int, threads: int) -> list:
        """Runs or resumes rondo-train; returns the lines of its log."""
        data = {"files": [str(self.work / f"{text}.txt")], "unit": "heading", "cache": str(self.work / "cache"),
                "length": self.recipe["text"]["length"]}
        run = {"out": str(folder), "threads": threads, "seed": seed, "checkpoint_minutes": 1.0, "keep": 1}
        valid = {**self.recipe["valid"], "text": str(ROOT / self.recipe["text"]["valid"])}
        folder.mkdir(parents=True, exist_ok=True)
        recipe = folder / "recipe.toml"
        recipe.write_text(toml({**sections, "data": data, "valid": valid, "run": run, "train": train}))
        command = [str(BIN / "rondo-train"), str(recipe), "--resume", "--quiet"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
            # Only the base is long enough to be worth interrupting: it goes on from its checkpoint.
            left = self.deadline - time.monotonic() if folder.name == "base" else float("inf")
            try:
                output, _ = process.communicate(timeout=None if left == float("inf") else max(left, 1))
            except subprocess.TimeoutExpired:
                process.terminate()
                raise Stopped() from None
        if process.returncode != 0:
            raise RuntimeError(f"{' '.join(command)}\n{output}")
        return tables.metrics(folder)

    def measured(self, lines: list, model: pathlib.Path) -> dict:
        valid = [line["valid_perplexity"] for line in lines if "valid_perplexity" in line]
        rates = sorted(line["tokens_per_s"] for line in lines if "tokens_per_s" in line)
        count = rondo("inspect", model)["parameters_non_embedding"]
        return {"parameters": count, "before": valid[0], "after": valid[-1], "tokens": lines[-1]["tokens"],
                "seconds": round(lines[-1]["seconds"], 1), "tokens_per_s": round(rates[len(rates) // 2])}

    def base(self) -> None:
        if self.has({"key": "base"}):
            return
        folder = self.work / "runs" / "base"
        lines = self.train(folder, {"init": self.init({})}, {**self.recipe["base"], "ce": 1.0, "kd": 0.0}, "base",
                           seed=0, threads=self.base_threads)
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
        self.finish({"key": "base"}, self.measured(lines, folder / "model"))

    def fold(self, fold: dict, seed: int, out: pathlib.Path) -> None:
        rank = ["--residual", "none"] if fold["rank"] == 0 else ["--rank", fold["rank"]]
        start = ["--residual-start", "zero"] if fold["residual"] == "zero" else []
        rondo("fold", self.model("base"), "--out", out, "--order", fold["order"], "--loops", fold["loops"], "--init",
              fold["init"], "--norms", fold["norms"] or self.recipe["table"]["norms"], "--seed", seed, *rank, *start)

    def cut(self, layers: int, out: pathlib.Path) -> None:
        """The layers that a stepwise fold would share, as a plain model without loops."""
        from safetensors.numpy import load_file, save_file
        plain = out.with_name("plain")
        rondo("export", self.model("base"), "--format", "hf", "--out", plain)
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
            curve = rondo("calibrate-exit", folder / "model", "--text", self.valid_text(), "--context",
                          self.recipe["valid"]["context"], "--max-tokens", self.recipe["valid"]["max_tokens"])
            result["loop_perplexity"] = [loop["perplexity"] for loop in curve["after_loop"]]
        self.finish(entry, result)

    def valid_text(self) -> pathlib.Path:
        with self.lock:
            path = self.work / "valid.txt"
            if not path.exists():
                path.write_bytes(lzma.open(ROOT / self.recipe["text"]["valid"]).read())
            return path

    def finish(self, entry: dict, result: dict) -> None:
        key = entry["key"]
        with self.lock:
            self.done[key] = {"key": key, **result, "settings": self.settings(key)}
            with open(self.log, "a") as file:
                file.write(json.dumps(self.done[key]) + "\n")
            print(f"{key}: {result['before']:.1f} -> {result['after']:.2f}, {result['tokens_per_s']} tokens/s",
                  flush=True)
        folder = self.model(key).parent
        for name in ("checkpoints", "start"):
            shutil.rmtree(folder / name, ignore_errors=True)
        if key not in self.keep:
            shutil.rmtree(folder, ignore_errors=True)

    def go(self) -> None:
        """Everything that is not finished yet, two runs of one thread at a time."""
        self.prepare()
        self.base()
        points = all_points(self.recipe)
        self.keep |= {entry["needs"] for entry in points if entry["needs"]}
        waiting = [entry for entry in points if not self.has(entry) and self.is_wanted(entry["key"])]
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            running = {}
            while waiting or running:
                while len(running) < 2 and time.monotonic() < self.deadline:
                    ready = next((e for e in waiting if not e["needs"] or e["needs"] in self.done and
                                  e["needs"] not in running.values()), None)
                    if ready is None:
                        break
                    waiting.remove(ready)
                    running[pool.submit(self.run, ready)] = ready["key"]
                if not running:
                    raise Stopped()  # no time is left, or runs not wanted now are needed first
                finished, _ = concurrent.futures.wait(running, return_when=concurrent.futures.FIRST_COMPLETED)
                for future in finished:
                    del running[future]
                    future.result()


def main() -> None:
    global BIN
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=pathlib.Path)
    parser.add_argument("--minutes", type=float, default=0, help="begin no run after so many; 0: until all is done")
    parser.add_argument("--report", action="store_true", help="only write the report of what is finished")
    parser.add_argument("--only", nargs="*", default=["*"], help="patterns of the runs wanted now, as 'B=2 * r=8 *'")
    parser.add_argument("--bin", type=pathlib.Path, default=BIN, help="folder of rondo and rondo-train")
    parser.add_argument("--threads", type=int, default=2, help="of the base; everything else has one")
    parser.add_argument("--keep", nargs="*", default=[], help="runs whose models stay")
    options = parser.parse_args()
    BIN = options.bin
    recipe = tomllib.loads(options.recipe.read_text())
    work = ROOT / "models" / "recipes" / options.recipe.stem
    work.mkdir(parents=True, exist_ok=True)
    table = Table(recipe, work, options)
    try:
        if not options.report:
            table.go()
    except Stopped:
        print("stopped; call again to go on", flush=True)
    wanted = [entry["key"] for entry in all_points(recipe)]
    table_small_report.write(recipe, table.done, wanted, options.recipe)


if __name__ == "__main__":
    main()
