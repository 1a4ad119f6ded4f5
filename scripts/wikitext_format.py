#!/usr/bin/env python3
"""Writes plain text in the tokenised form of WikiText: spaces around punctuation, " @-@ " inside words, " @,@ " and " @.@ "
inside numbers, as WikiText-2 has them (Merity et al. 2016). A model that is trained for WikiText's perplexity should see it.

usage: wikitext_format.py TEXT[.xz] OUT [CHARACTERS]
"""

import lzma
import re
import sys

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
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    limit = int(sys.argv[3]) if len(sys.argv) == 4 else float("inf")
    opened = lzma.open(sys.argv[1], "rt", encoding="utf-8") if sys.argv[1].endswith(".xz") else open(sys.argv[1])
    written = 0
    with opened as text, open(sys.argv[2], "w", encoding="utf-8") as out:
        for line in text:
            written += out.write(formatted(line.rstrip("\n")) + "\n")
            if written > limit:
                break


if __name__ == "__main__":
    main()
