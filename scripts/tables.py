"""What the programs that make tables share: their command line, recipes as TOML, tokenizers, calls of rondo."""

import argparse
import concurrent.futures
import fnmatch
import json
import lzma
import os
import pathlib
import subprocess
import sys
import threading
import time
import tomllib

ROOT = pathlib.Path(__file__).resolve().parents[1]
BIN = ROOT / "build" / "release" / "bin"


def rondo(binaries: pathlib.Path, *arguments, threads: int = 1) -> dict:
    """Runs one rondo command with --json; stops with its message if it fails. 0 threads: all CPUs."""
    command = [str(binaries / "rondo"), *map(str, arguments), "--json", "--quiet", "--threads", str(threads)]
    return json.loads(run(command))


def run(command: list[str]) -> str:
    """What the command writes; its message as an error if it fails."""
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    if result.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}\n{result.stderr}")
    return result.stdout


def train(binaries: pathlib.Path, folder: pathlib.Path, recipe: str) -> None:
    """Runs a recipe, written to folder/recipe.toml, from its last checkpoint if it has one."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "recipe.toml").write_text(recipe)
    run([str(binaries / "rondo-train"), str(folder / "recipe.toml"), "--resume", "--quiet"])


def metrics(folder: pathlib.Path) -> list[dict]:
    """The lines a run has written to its folder so far."""
    log = folder / "metrics.jsonl"
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def read_text(path: str | pathlib.Path) -> str:
    """A text of the project's folder, plain or packed as .xz."""
    file = ROOT / path
    if not file.exists():
        raise FileNotFoundError(f"{path} is missing (scripts/get_data.py puts the data of the recipes in place)")
    return lzma.open(file).read().decode() if file.suffix == ".xz" else file.read_text()


def chosen(name: str, patterns: list[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def run_all(runs: list, run_one, options: argparse.Namespace) -> None:
    """Makes the runs in order, options.jobs at a time; begins none after the deadline."""
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(lambda entry: run_one(entry) if time.monotonic() < options.deadline else None, runs))


class Points:
    """The finished runs of a table, in the order in which they finished.

    They are lines of RECIPE.jsonl, each with its key and settings. The file stands beside the recipe and is kept with
    it, so a table is never lost and can grow run by run.
    """

    def __init__(self, recipe: pathlib.Path):
        self.file, self.lock = recipe.with_suffix(".jsonl"), threading.Lock()
        lines = self.file.read_text().splitlines() if self.file.exists() else []
        self.of = {point["key"]: point for point in map(json.loads, lines)}

    def has(self, key: str, settings: dict) -> bool:
        """Whether this run is finished with just these settings."""
        return self.of.get(key, {}).get("settings") == json.loads(json.dumps(settings))

    def add(self, key: str, values: dict, settings: dict) -> None:
        """Keeps a run, in place of an earlier one of the same key."""
        with self.lock:
            again = key in self.of
            self.of[key] = {"key": key, **values, "settings": settings}
            if again:
                part = self.file.with_name(self.file.name + ".part")
                part.write_text("".join(json.dumps(point) + "\n" for point in self.of.values()))
                part.rename(self.file)
            else:
                with open(self.file, "a") as file:
                    file.write(json.dumps(self.of[key]) + "\n")


def markdown(header: list, rows: list[list]) -> list[str]:
    """A table, and an empty line behind it."""
    head, *body = ["| " + " | ".join(map(str, line)) + " |" for line in [header, *rows]]
    return [head, "|" + "---|" * len(header), *body, ""]


def write_report(recipe: pathlib.Path, lines: list[str]) -> None:
    """RECIPE.md: a title, what made it, the lines, and what RECIPE.notes.md says of them."""
    program = pathlib.Path(sys.argv[0]).resolve().relative_to(ROOT)
    made_by = (f"Made by `{program} recipes/tables/{recipe.name}` from the runs in "
               f"[{recipe.stem}.jsonl]({recipe.stem}.jsonl).")
    text = "\n".join([f"# What {recipe.name} gave", "", made_by, "", *lines]).rstrip() + "\n"
    notes = recipe.with_suffix(".notes.md")
    if notes.exists():
        text += "\n" + notes.read_text().rstrip() + "\n"
    recipe.with_suffix(".md").write_text(text)


def toml(sections: dict, stages: list[dict] = ()) -> str:
    """A recipe of rondo train; numbers, strings and lists are written in JSON as in TOML."""
    def values(section):
        return [f"{key} = {json.dumps(value)}" for key, value in section.items() if not isinstance(value, dict)]
    lines = values(sections)
    for name, section in sections.items():
        if isinstance(section, dict):
            lines += [f"[{name}]"] + values(section)
    for stage in stages:
        lines += ["[[stages]]"] + values(stage)
    return "\n".join(lines) + "\n"


def made_from(path: pathlib.Path, settings: dict) -> bool:
    """Whether what a table keeps was made from these settings."""
    return path.exists() and json.loads(path.read_text()) == json.loads(json.dumps(settings))


def write_json(path: pathlib.Path, value: dict) -> None:
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(value))
    part.rename(path)


def train_tokenizer(documents: list[str], vocab: int, path: pathlib.Path) -> None:
    """A byte-level BPE of the documents, as tokenizer.json at `path`."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=vocab, special_tokens=["<|endoftext|>"],
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    tokenizer.train_from_iterator(documents, trainer)
    path.parent.mkdir(parents=True, exist_ok=True)
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|endoftext|>"}
    (path.parent / "tokenizer_config.json").write_text(json.dumps(config))
    tokenizer.save(str(path))


def table_main(doc: str, table, add_options=lambda parser: None, parallel: bool = True) -> None:
    """The command line of a table.

    table(recipe, work folder, points, options) makes an object whose go() runs what is wanted and whose report(path)
    writes the table. Runs and settings name files from the project's folder on. Runs that use all CPUs are not
    parallel.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=pathlib.Path, help="a table of recipes/tables, such as recipes/tables/NAME.toml")
    parser.add_argument("--report", action="store_true", help="run nothing; write the report of what is finished")
    parser.add_argument("--only", nargs="*", default=["*"], metavar="PATTERN",
                        help="run these only, as 'K3-*' (default: all)")
    parser.add_argument("--minutes", type=float, default=float("inf"), metavar="M",
                        help="begin no run after so many minutes")
    if parallel:
        parser.add_argument("--jobs", type=int, default=2, metavar="N",
                            help="runs at the same time, one thread each (default: 2)")
    parser.set_defaults(jobs=2 if parallel else 1)
    parser.add_argument("--bin", type=pathlib.Path, default=BIN, metavar="DIR", help="folder of rondo and rondo-train")
    parser.add_argument("--work", type=pathlib.Path, metavar="DIR",
                        help="folder of what is made on the way (default: models/recipes/NAME)")
    add_options(parser)
    options = parser.parse_args()
    options.recipe, options.bin = options.recipe.resolve(), options.bin.resolve()
    options.deadline = time.monotonic() + 60 * options.minutes
    work = options.work.resolve() if options.work else pathlib.Path("models", "recipes", options.recipe.stem)
    os.chdir(ROOT)
    made = table(tomllib.loads(options.recipe.read_text()), work, Points(options.recipe), options)
    if not options.report:
        work.mkdir(parents=True, exist_ok=True)
        made.go()
    made.report(options.recipe)
    print(f"written: {options.recipe.with_suffix('.md')}")
