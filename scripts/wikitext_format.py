#!/usr/bin/env python3
"""Writes plain text in the tokenised form of WikiText: spaces around punctuation, " @-@ " inside words, " @,@ " and "
@.@ " inside numbers, as WikiText-2 has them (Merity et al. 2016). A perplexity on WikiText of a model that was trained
on such text says little about ordinary text: measure both.
"""

import argparse
import lzma
import pathlib
import re

RULES = [(re.compile(pattern), replacement) for pattern, replacement in (
    (r"(\d),(\d)", r"\1 @,@ \2"),
    (r"(\d)\.(\d)", r"\1 @.@ \2"),
    (r"(\w)-(?=\w)", r"\1 @-@ "),
    (r'(?<!@)([,;:?!()\[\]"%$])(?!@)', r" \1 "),
    (r"(\w)'(s|re|ve|d|m|ll)\b", r"\1 '\2"),
    (r"\.(?=\s|$)", " . "),
    (r"\b([A-Z]) \. ", r"\1. "),
)]
HEADING = re.compile(r"=+ .* =+")


def formatted(line: str) -> str:
    if HEADING.fullmatch(line):
        return f" {line} "
    for pattern, replacement in RULES:
        line = pattern.sub(replacement, line)
    return f" {' '.join(line.split())} " if line.strip() else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", type=pathlib.Path,
                        help="plain text, or packed as .xz; a heading is a line such as '= Title ='")
    parser.add_argument("out", type=pathlib.Path, help="file to write")
    parser.add_argument("characters", type=int, nargs="?", default=None,
                        help="stop behind the line that reaches so many")
    options = parser.parse_args()
    opened = lzma.open if options.text.suffix == ".xz" else open
    written = 0
    with opened(options.text, "rt", encoding="utf-8") as text, open(options.out, "w", encoding="utf-8") as out:
        for line in text:
            written += out.write(formatted(line.rstrip("\n")) + "\n")
            if options.characters is not None and written > options.characters:
                break


if __name__ == "__main__":
    main()
