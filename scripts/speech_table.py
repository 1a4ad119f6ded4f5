#!/usr/bin/env python3
"""Trains every variant of a table of speech models and sets their errors side by side.

    scripts/speech_table.py recipes/speech_table.toml --out models/runs/speech_table

The recipe holds one training recipe under [base.*] and, under [variants], what each row of the table changes in it.
Finished rows are kept; an interrupted row goes on from its checkpoint. Errors are measured on the held-out utterances
by `rondo eval --speech`.
"""

import argparse
import json
import pathlib
import subprocess
import tomllib

ROOT = pathlib.Path(__file__).resolve().parents[1]
RONDO = ROOT / "build" / "release" / "bin" / "rondo"


def to_toml(value):
    if isinstance(value, list):
        return "[" + ", ".join(map(to_toml, value)) + "]"
    return json.dumps(value)


def recipe_text(base, out):
    """The base recipe as TOML, its run in a folder of its own."""
    sections = {name: dict(keys) for name, keys in base.items()}
    sections.setdefault("run", {})["out"] = str(out)
    return "\n".join(f"[{name}]\n" + "".join(f"{key} = {to_toml(value)}\n" for key, value in keys.items())
                     for name, keys in sections.items())


def run_json(*command):
    return json.loads(subprocess.run([*map(str, command), "--json", "--quiet"], check=True, capture_output=True,
                                     text=True).stdout)


def measure(base, changes, folder, settings):
    """Trains one row unless it is finished; its sizes and errors."""
    result = folder / "result.json"
    if result.exists():
        return json.loads(result.read_text())
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "recipe.toml").write_text(recipe_text(base, folder / "run"))
    changes = [f"{key}={to_toml(value)}" for key, value in changes.items()] + settings
    options = [word for change in changes for word in ("--set", change)]
    subprocess.run([RONDO, "train", folder / "recipe.toml", "--resume", *options], check=True)
    model, speech = folder / "run" / "model", base["speech"]
    errors = run_json(RONDO, "eval", model, "--speech", speech["train"], "--ids", ",".join(speech["held_out"]))
    sizes = run_json(RONDO, "inspect", model)
    steps = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
    row = {"parameters": sizes["encoder_parameters"], "share": sizes["encoder_share"],
           "wer": errors["word_error_rate"], "cer": errors["character_error_rate"],
           "real_time_factor": errors["real_time_factor"], "utterances": errors["utterances"],
           "steps": max(line["step"] for line in steps)}
    result.write_text(json.dumps(row))
    return row


def table(rows):
    lines = ["| encoder | parameters | of the unshared | steps | word errors | relative | character errors |",
             "|---|---|---|---|---|---|---|"]
    baseline = rows.get("unshared")
    for name, row in rows.items():
        share = row["parameters"] / baseline["parameters"] if baseline else row["share"]
        relative = f"{row['wer'] / baseline['wer'] - 1:+.1%}" if baseline and baseline["wer"] else ""
        lines.append(f"| {name} | {row['parameters'] / 1e6:.2f}M | {share:.1%} | {row['steps']} | {row['wer']:.2%} | "
                     f"{relative} | {row['cer']:.2%} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=pathlib.Path)
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder of runs and table.md")
    parser.add_argument("--only", nargs="*", help="rows to train; others are shown when finished")
    parser.add_argument("--set", nargs="*", default=[], help="key=value for every row")
    options = parser.parse_args()
    recipe = tomllib.loads(options.recipe.read_text())
    rows = {}
    for name, changes in recipe["variants"].items():
        folder = options.out / name
        if options.only is None or name in options.only or (folder / "result.json").exists():
            rows[name] = measure(recipe["base"], changes, folder, options.set)
            (options.out / "table.md").write_text(table(rows) + "\n")
    print(table(rows))


if __name__ == "__main__":
    main()
