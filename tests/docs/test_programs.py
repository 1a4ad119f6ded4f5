"""The programs of scripts/ and benchmarks/: every one explains itself, and every table is what its kept runs give."""

import ast
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAMS = sorted(path for folder in ("scripts", "benchmarks") for path in (ROOT / folder).glob("*.py")
                  if "__main__" in path.read_text())
TABLES = sorted(path.with_suffix(".toml") for path in (ROOT / "recipes" / "tables").glob("*.jsonl"))


def name_of(path):
    return path.stem


def run(*command, **options):
    return subprocess.run([sys.executable, *map(str, command)], capture_output=True, text=True, **options)


@pytest.mark.parametrize("program", PROGRAMS, ids=name_of)
def test_help_says_what_a_program_does(program):
    result = run(program, "--help")
    assert result.returncode == 0, result.stderr
    assert ast.get_docstring(ast.parse(program.read_text())).splitlines()[0] in result.stdout


@pytest.mark.parametrize("program", PROGRAMS, ids=name_of)
def test_an_unknown_flag_is_refused(program):
    result = run(program, "--no-such-flag")
    assert result.returncode == 2 and "Traceback" not in result.stderr


def program_of(table):
    """The program that a table's first line names."""
    return ROOT / re.search(r"(scripts|benchmarks)/\w+\.py", table.read_text().splitlines()[0])[0]


@pytest.mark.parametrize("table", TABLES, ids=name_of)
def test_a_table_is_what_its_runs_give(table, tmp_path):
    for part in table.parent.glob(f"{table.stem}.*"):
        if part.suffix in (".toml", ".jsonl") or part.name.endswith(".notes.md"):
            shutil.copy(part, tmp_path)
    result = run(program_of(table), tmp_path / table.name, "--report")
    assert result.returncode == 0, result.stderr
    made = sorted(path.name for path in tmp_path.glob("*") if path.name == f"{table.stem}.md" or path.suffix == ".svg")
    assert f"{table.stem}.md" in made
    for name in made:
        assert (tmp_path / name).read_text() == (table.parent / name).read_text(), name


def test_data_is_put_in_place_from_copies(tmp_path):
    project, copies = tmp_path / "project", tmp_path / "copies"
    shutil.copytree(ROOT / "scripts", project / "scripts")
    program = project / "scripts" / "get_data.py"
    (copies / "tinyshakespeare").mkdir(parents=True)
    (copies / "tinyshakespeare" / "input.txt").write_text("First Citizen:\n")
    listed = run(program)
    assert listed.returncode == 0 and "tinyshakespeare: missing" in listed.stdout and "public domain" in listed.stdout
    put = run(program, copies, "tinyshakespeare")
    assert put.returncode == 0, put.stderr
    assert (project / "models" / "text" / "tinyshakespeare.txt").read_text() == "First Citizen:\n"
    missing = run(program, copies, "tinyshakespeare", "enwiki")
    assert missing.returncode == 1
    assert "no copy of enwiki" in missing.stderr and "CC BY-SA 3.0" in missing.stderr
    assert "tinyshakespeare" not in missing.stderr
    unknown = run(program, copies, "enwikis")
    assert unknown.returncode == 2 and "enwikis" in unknown.stderr


def test_wikipedia_is_put_in_wikitexts_form(tmp_path):
    (tmp_path / "in.txt").write_text("= Title =\n\nIt's 1,000.5 well-known (or not).\n")
    result = run(ROOT / "scripts" / "wikitext_format.py", tmp_path / "in.txt", tmp_path / "out.txt")
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "out.txt").read_text() == " = Title = \n\n It 's 1 @,@ 000 @.@ 5 well @-@ known ( or not ) . \n"
