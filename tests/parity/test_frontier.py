"""benchmarks/frontier.py on a tiny model: rows, what is kept, errors, and figures that are those of `rondo eval`."""

import json
import shutil
import subprocess
import sys

import pytest
from conftest import BUILD, DATA, ROOT

RECIPE = """
type = "auto"
threads = 1
context = 64
max_tokens = 128
limit = 2
tasks = {{ names = ["lambada", "arc_easy"], data = "tests/data/eval" }}
bench = {{ prefill = 8, decode = 8, repeat = 1 }}

[[texts]]
name = "wikitext"
file = "tests/data/wikitext-2/valid.raw.xz"
source = "WikiText-2"
use = "evaluation"

[[texts]]
name = "novels"
file = "{novels}"
members = ["a.txt", "b.txt"]
skip = 4
characters = 200
source = "two books"
use = "evaluation"

[calibrate]
name = "calibration"
file = "tests/data/enwiki/excerpt.txt.xz"
tokens = 64
source = "Wikipedia"
use = "calibration"

[[models]]
name = "stories"
file = "{model}"
rondo = [{{ type = "q8_0" }}, {{ type = "q4_0", embed-type = "q4_0", calibrate = true }}, {{ type = "q9_9" }}]
"""
ROWS = """
[[rows]]
model = "stories"
name = "trained"
method = "dropped + training"
file = "{file}"
minutes = 60
tokens = 500000
seed = 1

[[rows]]
model = "stories"
name = "gone"
method = "dropped + training"
file = "no-such-file.gguf"
"""


class Table:
    def __init__(self, folder, stories):
        self.folder, self.work, self.recipe = folder, folder / "work", folder / "tiny.toml"
        self.rows = folder / "rows.toml"
        for name in ("a", "b"):
            (folder / f"{name}.txt").write_text(f"Book {name}. " + "Once upon a time there was a little dog. " * 9)
        novels = folder / "novels.tar"
        subprocess.run(["tar", "cf", novels, "a.txt", "b.txt"], cwd=folder, check=True)
        self.recipe.write_text(RECIPE.format(novels=novels, model=stories))

    def run(self, *arguments):
        return subprocess.run([sys.executable, ROOT / "benchmarks" / "frontier.py", self.recipe, "--bin", BUILD / "bin",
                               "--work", self.work, *map(str, arguments)], capture_output=True, text=True)

    def points(self):
        points = map(json.loads, self.recipe.with_suffix(".jsonl").read_text().splitlines())
        return {point["name"]: point for point in points}

    def measured(self):
        return (self.work / "measured.jsonl").read_text().splitlines()

    def report(self):
        return self.recipe.with_suffix(".md").read_text()


@pytest.fixture(scope="module")
def table(tmp_path_factory, rondo, stories):
    """Cut short after one row, then finished, with one row of a file that exists and one of a file that does not."""
    folder = tmp_path_factory.mktemp("frontier")
    table = Table(folder, stories)
    table.rows.write_text(ROWS.format(file=folder / "trained.gguf"))
    rondo.run("quantize", stories, "--type", "q4_1", "--out", folder / "trained.gguf", "--quiet")
    first = table.run("--only", "*as it comes")
    assert first.returncode == 0, first.stderr
    assert list(table.points()) == ["as it comes"]
    table.first = table.measured()
    result = table.run("--rows", table.rows)
    assert result.returncode == 0, result.stderr
    return table


def test_figures_are_those_of_rondo_eval(table, rondo, stories):
    for name, file in (("as it comes", stories), ("trained", table.folder / "trained.gguf")):
        point = table.points()[name]
        for text, perplexity in point["perplexity"].items():
            report = rondo.json("eval", file, "--text", table.work / f"{text}.txt", "--context", 64,
                                "--max-tokens", 128, "--type", "auto", "--threads", 1)
            assert report["tokens"] > 100 and perplexity == report["perplexity"]
            assert f"| {perplexity:,.2f} |" in table.report()
        scores = rondo.json("eval", file, "--tasks", "lambada,arc_easy", "--data", DATA / "eval", "--limit", 2,
                            "--type", "auto", "--threads", 1)["tasks"]
        assert point["tasks"]["lambada_openai"]["acc"] == scores["lambada_openai"]["acc"]
        assert point["tasks"]["arc_easy"]["acc_norm"] == scores["arc_easy"]["acc_norm"]
        assert point["bytes"] == file.stat().st_size
        assert point["bench"]["decode_tok_per_s"] > 0 and point["bench"]["peak_memory_bytes"] > point["bytes"]


def test_a_slice_takes_the_same_part_of_each_member(table):
    assert len(text := (table.work / "novels.txt").read_text()) > 390
    assert text.startswith("a. Once") and "\n\nb. Once" in text


def test_rows_are_in_the_table_with_their_types_and_training(table):
    points = table.points()
    assert sorted(points) == ["as it comes", "gone", "q4_0, embed q4_0", "q8_0", "q9_9", "trained"]
    assert points["q4_0, embed q4_0"]["method"] == "rondo, calibrated" and "q4_0" in points["q4_0, embed q4_0"]["types"]
    assert points["q8_0"]["bytes"] > points["q4_0, embed q4_0"]["bytes"]
    assert "| 60 min, 0.50M tokens, seed 1 |" in table.report()
    picture = table.recipe.with_suffix(".svg").read_text()
    assert "q4_0, embed q4_0" in picture and "q9_9" not in picture


def test_a_row_that_fails_says_why(table):
    points = table.points()
    assert "unknown name 'q9_9'" in points["q9_9"]["error"] and "no-such-file.gguf" in points["gone"]["error"]
    assert "| rondo, nearest | q9_9 | rondo quantize: --type: unknown name 'q9_9'" in table.report()


def test_a_second_run_measures_nothing_again(table):
    kept, points, report = table.measured(), table.recipe.with_suffix(".jsonl").read_text(), table.report()
    assert kept[:len(table.first)] == table.first  # the run that was cut short
    again = table.run("--rows", table.rows)
    assert again.returncode == 0, again.stderr
    assert table.measured() == kept and table.report() == report
    assert sorted(table.recipe.with_suffix(".jsonl").read_text().splitlines()) == sorted(points.splitlines())


def test_a_text_that_changed_is_measured_again(table, tmp_path, stories):
    other = Table(tmp_path, stories)
    shutil.copytree(table.work, other.work)
    other.recipe.write_text(other.recipe.read_text().replace("skip = 4", "skip = 0"))
    result = other.run("--only", "*as it comes", "--until", "perplexity")
    assert result.returncode == 0, result.stderr
    mine, before = (t.points()["as it comes"]["perplexity"] for t in (other, table))
    assert mine["wikitext"] == before["wikitext"] and mine["novels"] != before["novels"]
    assert len(other.measured()) == len(table.measured()) + 1


def test_what_is_kept_makes_the_table_alone(table, tmp_path):
    shutil.copy(table.recipe, tmp_path / "tiny.toml")
    shutil.copy(table.recipe.with_suffix(".jsonl"), tmp_path / "tiny.jsonl")
    result = subprocess.run([sys.executable, ROOT / "benchmarks" / "frontier.py", tmp_path / "tiny.toml", "--report"],
                            capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "tiny.md").read_text() == table.report()


@pytest.mark.parametrize("rows, complaint", [
    ('model = "stories"\nname = "x"\nmethod = "m"', "rows[0]: 'file' is missing"),
    ('model = "story"\nname = "x"\nmethod = "m"\nfile = "f"', "unknown model 'story' (known: stories)"),
    ('model = "stories"\nname = "x"\nmethod = "m"\nfile = "f"\nminute = 1', "unknown key 'minute'"),
    ('model = "stories"\nname = "x"\nmethod = "m"\nfile = "f"\nseed = "1"', "'seed' is '1' (expected a number)"),
    ('model = "stories"\nname = "as it comes"\nmethod = "original"\nfile = "f"', "two rows are called"),
])
def test_a_wrong_list_of_rows_is_refused(table, tmp_path, rows, complaint):
    (tmp_path / "rows.toml").write_text(f"[[rows]]\n{rows}\n")
    result = table.run("--rows", tmp_path / "rows.toml")
    assert result.returncode == 1 and complaint in result.stderr and "Traceback" not in result.stderr
