#!/usr/bin/env python3
"""Quality against bytes: the same texts, tasks and speeds for models made by every method, as a table and a picture.

The recipe (docs/frontier.md) names models, texts and tasks, and what rondo and llama.cpp round each model to. Files
that other commands made, such as `rondo train` or `rondo compress`, are rows of --rows FILE. A row is measured by
`rondo eval` and `rondo bench` alone. Every measurement is kept by the file's hash and its settings: an interrupted run
goes on where it was, and a new row costs only itself. A row that fails stays in the table with its error, and is tried
again.
"""

import argparse
import functools
import hashlib
import io
import json
import os
import pathlib
import sys
import tarfile
import time
import tomllib

import frontier_report

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))
from tables import Points, chosen, made_from, read_text, rondo, run, table_main, write_json  # noqa: E402

ROW_KEYS = {"model": str, "name": str, "method": str, "file": str, "minutes": (int, float), "tokens": int, "seed": int,
            "note": str}
NEEDED = ("model", "name", "method", "file")
WORKER = pathlib.Path(__file__).with_name("peer_worker.py")
MEASURE = ("type", "threads", "texts", "context", "max_tokens", "tasks", "limit", "bench")
STAGES = ("perplexity", "tasks", "bench")
SHOWN = ("model", "method", "name", "minutes", "tokens", "seed", "note")  # of a row, in its point


def hash_of(path: str | pathlib.Path) -> str:
    status = os.stat(path)
    return sha256(pathlib.Path(path), status.st_size, status.st_mtime_ns)


@functools.cache
def sha256(path: pathlib.Path, size: int, changed: int) -> str:
    """Of a file, or of the files that lie directly in a folder; the log of a run is none of its model."""
    files = [path] if path.is_file() else sorted(p for p in path.iterdir() if p.is_file() and p.suffix != ".jsonl")
    digest = hashlib.sha256()
    for file in files:
        digest.update(b"" if file == path else f"{file.name}\0{file.stat().st_size}\0".encode())
        with open(file, "rb") as opened:
            while block := opened.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def message(error: Exception) -> str:
    """What a command said: rondo's own line, where there is one, or else the last."""
    lines = str(error).strip().splitlines()
    own = [line for line in lines if line.startswith("rondo") and ": " in line]
    return (own or lines)[-1].replace(f"{ROOT}/", "")


def slice_of_archive(text: dict) -> str:
    """`characters` of each member of a tar, from `skip` on: past title and contents, within the book."""
    parts = []
    with tarfile.open(ROOT / text["file"]) as archive:
        for name in text["members"]:
            if name not in archive.getnames():
                raise FileNotFoundError(f"{text['file']} holds no {name}")
            book = io.TextIOWrapper(archive.extractfile(name), encoding="utf-8").read()
            parts.append(book[text["skip"]:text["skip"] + text["characters"]].strip())
    return "\n\n".join(parts) + "\n"


def read_rows(path: pathlib.Path, models: list[str]) -> list[dict]:
    """Rows of files that exist already; what is wrong with one is an error that names it."""
    rows = tomllib.loads(path.read_text()).get("rows", [])
    for index, row in enumerate(rows):
        where = f"{path}: rows[{index}]"
        for key in NEEDED:
            if key not in row:
                raise ValueError(f"{where}: '{key}' is missing (needed: {', '.join(NEEDED)})")
        for key, value in row.items():
            if key not in ROW_KEYS:
                raise ValueError(f"{where}: unknown key '{key}' (known: {', '.join(ROW_KEYS)})")
            if not isinstance(value, ROW_KEYS[key]) or isinstance(value, bool):
                raise ValueError(f"{where}: '{key}' is {value!r} (expected a "
                                 f"{'number' if ROW_KEYS[key] != str else 'string'})")
        if row["model"] not in models:
            raise ValueError(f"{where}: unknown model '{row['model']}' (known: {', '.join(models)})")
    return rows


class Frontier:
    def __init__(self, recipe: dict, work: pathlib.Path, points: Points, options: argparse.Namespace):
        self.recipe, self.work, self.points, self.options = recipe, work, points, options
        names = [model["name"] for model in recipe["models"]]
        self.rows = read_rows(options.rows, names) if options.rows else []
        # Points of other texts, tasks or lengths are not of this table.
        self.measure = {key: recipe[key] for key in MEASURE}

    def report(self, path: pathlib.Path) -> None:
        measure = json.loads(json.dumps(self.measure))
        kept = [point for point in self.points.of.values() if point["settings"]["measure"] == measure]
        frontier_report.write(path, self.recipe, kept)

    def entries(self) -> list[dict]:
        """Rows of the recipe, then those of --rows."""
        entries = []
        for model in self.recipe["models"]:
            entries.append({"model": model["name"], "name": "as it comes", "method": "original", "file": model["file"]})
            for flags in model.get("rondo", []):
                words = [str(flags["type"])] + [f"{key.removesuffix('-type')} {value}" for key, value in flags.items()
                                                if key not in ("type", "calibrate")]
                entries.append({"model": model["name"], "name": ", ".join(words), "source": model["file"],
                                "method": "rondo, calibrated" if flags.get("calibrate") else "rondo, nearest",
                                "quantize": flags})
            entries += [{"model": model["name"], "name": kind, "method": "llama.cpp", "source": model["file"],
                         "llama.cpp": kind} for kind in model.get("llama_cpp", [])]
        entries += self.rows
        keys = set()
        for entry in entries:
            entry["key"] = f"{entry['model']}: {entry['method']}: {entry['name']}"
            if entry["key"] in keys:
                raise ValueError(f"two rows are called '{entry['key']}'")
            keys.add(entry["key"])
        return [entry for entry in entries if chosen(entry["key"], self.options.only)]

    def go(self) -> None:
        """All rows a stage at a time, so that a run cut short has the perplexity of all of them first."""
        self.texts = {text["name"]: self.plain(text) for text in self.recipe["texts"]}
        entries = self.entries()
        for stage in range(1, STAGES.index(self.options.until) + 2):
            for entry in entries:
                if time.monotonic() >= self.options.deadline:
                    return
                self.row(entry, STAGES[:stage])

    def plain(self, text: dict) -> pathlib.Path:
        path = self.work / f"{text['name']}.txt"
        stamp = path.with_suffix(".made_from.json")
        if not (path.exists() and made_from(stamp, text)):
            path.write_text(slice_of_archive(text) if "members" in text else read_text(text["file"]))
            write_json(stamp, text)
        return path

    def row(self, entry: dict, stages: tuple) -> None:
        """Measures a row up to the last of the stages, and keeps what came of it."""
        key = entry["key"]
        point = {name: entry[name] for name in SHOWN if name in entry}
        settings = {"row": {name: value for name, value in entry.items() if name != "key"}, "measure": self.measure}
        if entry.get("quantize", {}).get("calibrate"):
            settings["calibrate"] = self.recipe["calibrate"]
        try:
            finished = settings | {"from": hash_of(entry.get("source", entry.get("file")))}
            old = self.points.of[key] if self.points.has(key, finished) else {}
            if all(stage in old for stage in stages):
                return
            file = self.file(entry, finished)
            shape = self.kept(file, "inspect")
            point |= {"bytes": shape["file_bytes"], "sha256": hash_of(file),
                      "parameters_non_embedding": shape["parameters_non_embedding"],
                      "types": {name: kind["bytes"] for name, kind in shape["types"].items()}}
            # What an earlier run measured comes from what is kept.
            point |= {stage: getattr(self, stage)(file) for stage in STAGES if stage in stages or stage in old}
            settings = finished
        except (RuntimeError, OSError) as error:
            point["error"] = message(error)
        self.points.add(key, point, settings)
        print(json.dumps({"key": key} | point), flush=True)

    def file(self, entry: dict, settings: dict) -> pathlib.Path:
        """The file of a row; what the program rounds itself is made once and stays in the work folder."""
        if "file" in entry:
            return pathlib.Path(entry["file"])
        made = {name: value for name, value in settings.items() if name != "measure"}
        name = hashlib.sha256(entry["key"].encode()).hexdigest()[:16]
        path, part, stamp = (self.work / (name + end) for end in (".gguf", ".part.gguf", ".made_from.json"))
        if not (path.exists() and made_from(stamp, made)):
            part.unlink(missing_ok=True)
            if "quantize" in entry:
                self.rondo("quantize", entry["source"], "--out", part, *self.flags(entry["quantize"]))
            else:
                run([sys.executable, str(WORKER), "quantize", entry["source"], str(part), entry["llama.cpp"]])
            part.rename(path)
            write_json(stamp, made)
        return path

    def flags(self, quantize: dict) -> list:
        flags = [word for key, value in quantize.items() if key != "calibrate" for word in (f"--{key}", value)]
        if quantize.get("calibrate"):
            text = self.recipe["calibrate"]
            flags += ["--calibrate", self.plain(text), "--calibrate-tokens", text["tokens"]]
        return flags

    def kept(self, file: pathlib.Path, command: str, *arguments) -> dict:
        """What a command of rondo says of a file, from an earlier run where it said it then."""
        store = self.work / "measured.jsonl"
        lines = store.read_text().splitlines() if store.exists() else []
        key = [hash_of(file), command, *(hash_of(word) if isinstance(word, pathlib.Path) else str(word)
                                         for word in arguments), self.recipe["threads"]]
        for line in map(json.loads, lines):
            if line["key"] == key:
                return line["value"]
        value = self.rondo(command, file, *arguments)
        part = store.with_suffix(".part")
        part.write_text("".join(line + "\n" for line in [*lines, json.dumps({"key": key, "value": value})]))
        part.rename(store)
        return value

    def rondo(self, *arguments) -> dict:
        return rondo(self.options.bin, *arguments, threads=self.recipe["threads"])

    def perplexity(self, file: pathlib.Path) -> dict:
        return {name: self.kept(file, "eval", "--text", text, "--context", self.recipe["context"], "--max-tokens",
                                self.recipe["max_tokens"], "--type", self.recipe["type"])["perplexity"]
                for name, text in self.texts.items()}

    def tasks(self, file: pathlib.Path) -> dict:
        examples = f"tasks-{hash_of(file)[:16]}-{self.recipe['type']}.jsonl"  # goes on within a task
        report = self.kept(file, "eval", "--tasks", ",".join(self.recipe["tasks"]["names"]), "--data",
                           self.recipe["tasks"]["data"], "--limit", self.recipe["limit"], "--type",
                           self.recipe["type"], "--resume", str(self.work / examples))
        return {name: {key: scores[key] for key in ("acc", "acc_norm", "examples") if key in scores}
                for name, scores in report["tasks"].items()}

    def bench(self, file: pathlib.Path) -> dict:
        flags = [word for key, value in self.recipe["bench"].items() for word in (f"--{key}", value)]
        report = self.kept(file, "bench", "--type", self.recipe["type"], *flags)
        # Other programs only ever slow a run down: the fastest repeat says what the machine can do.
        return {"decode_tok_per_s": report["decode_tok_per_s_max"], "peak_memory_bytes": report["peak_memory_bytes"]}


def main() -> None:
    def add_options(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--rows", type=lambda path: pathlib.Path(path).resolve(), metavar="FILE",
                            help="TOML list of files that other commands made (docs/frontier.md)")
        parser.add_argument("--until", choices=STAGES, default=STAGES[-1], help="last thing measured (default: bench)")

    try:
        table_main(__doc__, Frontier, add_options, parallel=False)
    except (ValueError, FileNotFoundError) as error:
        sys.exit(f"frontier.py: {error}")


if __name__ == "__main__":
    main()
