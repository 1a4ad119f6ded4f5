"""The documents against the tree: links, programs and flags that they name exist, and the first page stays one page."""

import functools
import os
import pathlib
import re
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
RONDO = pathlib.Path(os.environ.get("RONDO_BUILD", ROOT / "build" / "release")) / "bin" / "rondo"
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("recipes/**/*.md")])
RECIPES = sorted(ROOT.glob("recipes/**/*.toml"))
FOLDERS = "src|include|tests|docs|recipes|scripts|benchmarks|examples|cmake"


def name_of(path):
    return str(path.relative_to(ROOT))


def anchors(page):
    """The anchors of a page's headings, by GitHub's rule."""
    found = set()
    for heading in re.findall(r"(?m)^#+ (.*)$", page.read_text()):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        found.add(re.sub(r"[^\w\- ]", "", words).replace(" ", "-"))
    return found


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page):
    broken = []
    text = re.sub(r"(?ms)^```.*?^```|^    .*?$|`[^`\n]*`", "", page.read_text())  # brackets in code are no links
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        other = (page.parent / file).resolve() if file else page
        if not other.exists() or anchor and anchor not in anchors(other):
            broken.append(target)
    assert not broken


@pytest.mark.parametrize("page", PAGES + RECIPES, ids=name_of)
def test_files_that_are_named_exist(page):
    named = re.findall(rf"(?<![\w/.-])((?:{FOLDERS})/[\w./-]+\w)", page.read_text())
    # Names with a part in capitals stand for any file, a star for several; models/ is made by programs.
    missing = {path for path in named if not re.search(r"NAME|RECIPE|FILE", path) and not (ROOT / path).exists()
               and not list(ROOT.glob(path + "*"))}
    assert not missing


@functools.cache
def help_of(command):
    assert RONDO.exists(), f"{RONDO} is missing: run `make build`"
    return subprocess.run([RONDO, command, "--help"], capture_output=True, text=True).stdout


def commands(text):
    """(command, flag) of every `rondo` call in code: indented lines, with those that continue them, and spans."""
    text = text.replace("\\\n", " ")
    code = re.findall(r"(?m)^(?:    |#   )(.*)$", text) + re.findall(r"`([^`\n]+)`", text)
    for line in code:
        for command, rest in re.findall(r"(?:^|[\s/(|])rondo ([a-z][a-z-]*)([^|#]*)", line):
            if command == "train":  # its flags are those of another program, which not every build has
                continue
            yield from ((command, flag) for flag in re.findall(r"(?<![\w-])--[a-z][a-z-]*", rest))


@pytest.mark.parametrize("page", PAGES + RECIPES, ids=name_of)
def test_flags_of_commands_exist(page):
    wrong = [f"rondo {command} {flag}" for command, flag in commands(page.read_text())
             if not re.search(rf"(?<![\w-]){flag}(?![\w-])", help_of(command))]
    assert not wrong


def test_the_first_page_is_one_page():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 90


def test_every_page_is_in_the_index():
    index = (ROOT / "docs" / "README.md").read_text()
    pages = [page.name for page in ROOT.glob("docs/*.md") if page.name != "README.md"]
    assert not [page for page in pages if f"({page})" not in index]
