#!/usr/bin/env python3
"""Puts the data of the recipes in place, under models/, from a folder of copies on this machine. Nothing is downloaded.

Without a folder it lists every set: where it comes from, its licence, what uses it, and whether it is there. With a
folder it copies the sets found in it (all, or those named) and says where to get the others. A set may lie in the
folder itself or in the sub-folder that the list names. WikiText-2's validation split and an excerpt of Wikipedia are in
tests/data already.
"""

import argparse
import dataclasses
import pathlib
import shutil
import sys

from tables import ROOT, run

WIKITEXT_CHARACTERS = 12_000_000


@dataclasses.dataclass
class DataSet:
    source: str  # where the public finds it
    licence: str
    used_by: str
    folder: str  # of the copies
    files: dict[str, str]  # from a copy's name (a pattern where the target is a folder) to a path in the project


SETS = {
    "enwiki": DataSet(
        source="English Wikipedia of spring 2014: text of WikiExtractor in github.com/ZhouYii/PatchedDistro, "
               "data/A[A-I], commit 961716d8; pages of 2,000 characters or more, shuffled by page; each begins with a "
               "line `= Title =`; pages that are in WikiText-2's validation or test split are removed",
        licence="CC BY-SA 3.0",
        used_by="uptrain_smollm2, uptrain_smollm2_half, round_smollm2_q3, tying_smollm2; tables recovery_smollm2, "
                "table_small, tying_small, frontier",
        folder="enwiki-slice",
        files={"train-a.txt.xz": "models/text/enwiki.txt.xz", "valid.txt.xz": "models/text/enwiki-valid.txt.xz"}),
    "novels": DataSet(
        source="100 English novels, 1813 to 1922, github.com/computationalstylistics/100_english_novels, corpus/, "
               "commit 143e6018, packed in one tar",
        licence="public domain", used_by="table frontier",
        folder="novels", files={"100-english-novels.tar.xz": "models/text/novels.tar.xz"}),
    "tinyshakespeare": DataSet(
        source="tiny shakespeare, github.com/karpathy/char-rnn, data/tinyshakespeare/input.txt",
        licence="public domain", used_by="table tying_small",
        folder="tinyshakespeare", files={"input.txt": "models/text/tinyshakespeare.txt"}),
    "eval": DataSet(
        source="LAMBADA (OpenAI's version), HellaSwag, PIQA, WinoGrande, ARC, OpenBookQA as JSON Lines "
               "(docs/eval.md says which fields and names)",
        licence="CC BY 4.0, MIT, AFL-3.0, CC BY, CC BY-SA 4.0, Apache-2.0",
        used_by="`rondo eval --tasks … --data models/eval`, benchmarks/tasks.py, table frontier",
        folder="eval", files={"*.jsonl": "models/eval/", "*.jsonl.xz": "models/eval/", "*.lst": "models/eval/"}),
    "kathleen-en": DataSet(
        source="CMU Arctic prompts read by one speaker, github.com/rhasspy/dataset-voice-kathleen; recordings in one "
               "tar, and a TSV with id and text on each line",
        licence="CC0 1.0", used_by="table speech_table, benchmarks/speech.py",
        folder="speech",
        files={"kathleen-en.tar": "models/speech/kathleen-en.tar", "kathleen-en.tsv": "models/speech/kathleen-en.tsv"}),
    "ljspeech": DataSet(
        source="141 utterances of LJSpeech 1.1 (keithito.com/LJ-Speech-Dataset); recordings in one tar, and a TSV with "
               "id and text on each line",
        licence="public domain", used_by="the table of folded Whisper encoders in docs/speech.md",
        folder="speech", files={"ljspeech-part.tar": "models/speech/ljspeech-part.tar",
                                "ljspeech-part.tsv": "models/speech/ljspeech-part.tsv"}),
    "fsdd": DataSet(
        source="Free Spoken Digit Dataset, github.com/Jakobovski/free-spoken-digit-dataset; scripts/get_speech.sh "
               "fetches it",
        licence="CC BY-SA 4.0", used_by="speech_digits, make demo-speech",
        folder="speech", files={"fsdd.tar": "models/speech/fsdd.tar", "fsdd.tsv": "models/speech/fsdd.tsv"}),
    "tatoeba": DataSet(
        source="English-German sentence pairs of Tatoeba (tatoeba.org): a sentence, a tab and its translation on each "
               "line",
        licence="CC BY 2.0 FR", used_by="table speech_synthetic, through scripts/make_speech_corpus.py",
        folder="parallel/tatoeba", files={"eng-deu.tsv.xz": "models/text/eng-deu.tsv.xz"}),
}


def place_of(target: str, copy: pathlib.Path) -> pathlib.Path:
    """Where a copy goes; a target that ends in a slash is a folder."""
    return ROOT / target / copy.name if target.endswith("/") else ROOT / target


def copies(data: DataSet, folder: pathlib.Path) -> list[tuple[pathlib.Path, pathlib.Path]]:
    """(copy, target) of the files of a set that are in `folder`; empty when one of them is missing."""
    for place in (folder / data.folder, folder):
        found = [[(match, place_of(target, match)) for match in sorted(place.glob(name))]
                 for name, target in data.files.items()]
        # Of patterns one has to be there, of plain names all.
        if all(found) or any(found) and any("*" in name for name in data.files):
            return sum(found, [])
    return []


def is_there(data: DataSet) -> bool:
    return all(any((ROOT / target).iterdir()) if (ROOT / target).is_dir() else (ROOT / target).exists()
               for target in data.files.values())


def describe(name: str, data: DataSet) -> str:
    targets = ", ".join(dict.fromkeys(data.files.values()))
    state = "in place" if is_there(data) else "missing"
    return (f"{name}: {state}\n  goes to: {targets}\n  copied from: FROM/{data.folder}/{{{', '.join(data.files)}}}\n"
            f"  source: {data.source}\n  licence: {data.licence}\n  used by: {data.used_by}")


def put(copy: pathlib.Path, target: pathlib.Path) -> None:
    if target.exists() and target.stat().st_size == copy.stat().st_size:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    shutil.copyfile(copy, part)
    part.rename(target)
    print(f"{target.relative_to(ROOT)}")


def make_wikitext_form() -> None:
    """The first 12 MB of Wikipedia in the form of WikiText, which some recipes train on."""
    source, target = ROOT / "models/text/enwiki.txt.xz", ROOT / "models/text/enwiki-wikitext.txt"
    if target.exists() and target.stat().st_mtime >= source.stat().st_mtime:
        return
    run([sys.executable, str(ROOT / "scripts/wikitext_format.py"), str(source), str(target), str(WIKITEXT_CHARACTERS)])
    print(f"{target.relative_to(ROOT)}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path, nargs="?", metavar="FROM", help="folder with copies of the sets")
    parser.add_argument("names", nargs="*", metavar="SET",
                        help=f"sets to put in place (default: all): {', '.join(SETS)}")
    options = parser.parse_args()
    if options.folder is None:
        print("\n\n".join(describe(name, data) for name, data in SETS.items()))
        return 0
    if not options.folder.is_dir():
        parser.error(f"{options.folder}: no folder")
    for name in options.names:
        if name not in SETS:
            parser.error(f"unknown set '{name}' (expected {', '.join(SETS)})")
    missing = []
    for name in options.names or SETS:
        found = copies(SETS[name], options.folder)
        for copy, target in found:
            put(copy, target)
        if not is_there(SETS[name]):
            missing.append(name)
        elif name == "enwiki":
            make_wikitext_form()
    for name in missing:
        print(f"\n{options.folder} has no copy of {describe(name, SETS[name])}", file=sys.stderr)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
