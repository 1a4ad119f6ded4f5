#!/usr/bin/env python3
"""Makes a table of speech models: trains every variant of the recipe and sets their errors side by side.

The recipe holds one training recipe under [base.*] and, under [variants], what each row of the table changes in it. A
variant with "begin.with" goes on from the finished model of another row; where it has "begin.fold", `rondo fold` folds
that model first, with these flags. Where it sets train.kd or train.hidden, that row's model is its teacher. Finished
rows are kept with their settings in RECIPE.jsonl; an interrupted one goes on from its checkpoint. Errors are those of
`rondo eval --speech` on the test set (`speech.valid`, or what is held out), of translations too where the task has
them. RECIPE.md and RECIPE.svg are written from what is finished.
"""

import argparse
import pathlib
import threading

from tables import Points, chosen, markdown, metrics, rondo, run_all, table_main, toml, train, write_report
from table_plot import plot


# What [speech] says of a model that begins with random weights; another one has its own.
SHAPE = {"units", "unit_count", "layers", "d_model", "d_ff", "heads", "positions", "decoder_layers", "share", "rank",
         "diagonal"}


class Table:
    def __init__(self, recipe: dict, work: pathlib.Path, points: Points, options: argparse.Namespace):
        self.recipe, self.work, self.points, self.options = recipe, work, points, options
        self.locks: dict[str, threading.Lock] = {}

    def sections(self, name: str) -> dict:
        sections = {section: dict(keys) for section, keys in self.recipe["base"].items()}
        for key, value in self.recipe["variants"][name].items():
            section, field = key.split(".")
            sections.setdefault(section, {})[field] = value
        return sections | {"run": {"threads": 1, **sections.get("run", {}), "out": str(self.work / name / "run")}}

    def run(self, name: str) -> None:
        sections = self.sections(name)
        if self.points.has(name, sections):
            return
        self.trained(name)
        row = self.measure(name, sections)
        self.points.add(name, row, sections)
        print(name, row, flush=True)

    def recipe_of(self, name: str, sections: dict) -> dict:
        """What rondo train reads: for a model that goes on its folder, its teacher and no shape."""
        if "begin" not in sections:
            return sections
        begin, folder = sections["begin"], self.work / name / "folded"
        before = self.trained(begin["with"])
        if "fold" in begin and not (folder / "config.json").exists():
            rondo(self.options.bin, "fold", before, "--out", folder, *begin["fold"])
        speech = {key: value for key, value in sections["speech"].items() if key not in SHAPE}
        rest = {key: value for key, value in sections.items() if key not in ("begin", "speech")}
        learns = {"kd", "hidden"} & set(sections["train"])
        top = {"model": str(folder if "fold" in begin else before)} | ({"teacher": str(before)} if learns else {})
        return {**top, "speech": speech, **rest}

    def trained(self, name: str) -> pathlib.Path:
        """The model of a row; trained again where only its figures were kept."""
        folder, model = self.work / name, self.work / name / "run" / "model"
        with self.locks.setdefault(name, threading.Lock()):
            text = toml(self.recipe_of(name, self.sections(name)))
            recipe = folder / "recipe.toml"
            if not ((model / "config.json").exists() and recipe.exists() and recipe.read_text() == text):
                train(self.options.bin, folder, text)
        return model

    def measure(self, name: str, sections: dict) -> dict:
        model, speech = self.work / name / "run" / "model", sections["speech"]
        kind = "valid" if "valid" in speech else "train"
        test = ["--speech", speech[kind]] + ([] if kind == "valid" else ["--ids", ",".join(speech["held_out"])])
        audio = speech.get("valid_audio" if kind == "valid" else "audio")
        test += ["--audio", audio] if audio else []
        sizes = rondo(self.options.bin, "inspect", model)
        last = [line for line in metrics(self.work / name / "run") if "loss" in line][-1]
        row = {"parameters": sizes["encoder_parameters"], "steps": last["step"], "seconds": last["seconds"]}
        if speech.get("task", "transcribe") != "translate":
            errors = rondo(self.options.bin, "eval", model, *test)
            row |= {"wer": errors["word_error_rate"], "cer": errors["character_error_rate"],
                    "real_time_factor": errors["real_time_factor"], "utterances": errors["utterances"]}
        if speech.get("task", "transcribe") != "transcribe":
            errors = rondo(self.options.bin, "eval", model, *test, "--translate", "--search", "attention")
            row |= {"bleu": errors["bleu"], "chrf": errors["chrf"]}
        return row

    def go(self) -> None:
        wanted = [name for name in self.recipe["variants"] if chosen(name, self.options.only)]
        run_all(wanted, self.run, self.options)

    def report(self, path: pathlib.Path) -> None:
        rows = {name: self.points.of[name] for name in self.recipe["variants"]
                if self.points.has(name, self.sections(name))}
        if not rows:
            return
        baseline = rows.get("unshared")
        translates = any("bleu" in row for row in rows.values())
        header = ["encoder", "parameters", "of the unshared", "steps", "minutes", "word errors", "relative",
                  "character errors"]
        header += ["BLEU", "relative", "chrF"] if translates else []
        lines = []

        def relative(row: dict, key: str) -> str:
            return f"{row[key] / baseline[key] - 1:+.1%}" if baseline and baseline.get(key) and key in row else ""
        for name, row in rows.items():
            before = rows.get(row["settings"].get("begin", {}).get("with"))
            steps = f"{before['steps']} + {row['steps']}" if before else f"{row['steps']}"
            cells = [name, f"{row['parameters'] / 1e6:.2f}M",
                     f"{row['parameters'] / baseline['parameters']:.1%}" if baseline else "",
                     steps, f"{row['seconds'] / 60:.0f}"]
            cells += [f"{row['wer']:.2%}", relative(row, "wer"), f"{row['cer']:.2%}"] if "wer" in row else [""] * 3
            cells += [f"{row['bleu']:.2f}", relative(row, "bleu"),
                      f"{row['chrf']:.2f}"] if "bleu" in row else [""] * 3 * translates
            lines.append(cells)
        picture = path.with_suffix(".svg").name
        write_report(path, [f"![Size against word errors]({picture})", "", *markdown(header, lines)])
        self.plot(rows, path.with_suffix(".svg"))

    def plot(self, rows: dict, path: pathlib.Path) -> None:
        """A curve over ranks for every K, with diagonals (solid) and without. Unshared encoders, and those of another
        seed or number of steps, are marks."""
        curves: dict[str, list] = {}
        marks = []
        for name, row in rows.items():
            if "wer" not in row:
                continue
            speech = row["settings"]["speech"]
            point = (row["parameters"], 100 * row["wer"])
            same_training = all(key.startswith("speech.") for key in self.recipe["variants"][name])
            if speech.get("share", 1) == 1 or not same_training:
                marks.append((name, *point))
                continue
            for diagonal in (True, False):
                curve = curves.setdefault(f"K = {speech['share']}" + ("" if diagonal else ", no diagonal"), [])
                if speech.get("diagonal", True) == diagonal:
                    curve.append(point)
        ordered = [(name, sorted(points)) for name, points in curves.items()]
        path.write_text(plot([("", ordered, marks)], "encoder parameters, millions", "word errors, %"))


if __name__ == "__main__":
    table_main(__doc__, Table)
