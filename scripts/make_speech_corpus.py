#!/usr/bin/env python3
"""Makes a corpus of synthesised English speech with German translations: sentence pairs read by many voices.

Voices are those of Debian's espeak-ng (four accents, each in six variants, at several speeds and pitches) and flite
(four speakers); sound is packed by opusenc. OUT.tar holds the recordings, OUT.train.tsv and OUT.test.tsv id, sentence
and translation (docs/speech.md); no English sentence is in both, in any punctuation, every voice is. The same arguments
give the same corpus. Ten hours take about 12 minutes of one core.
"""

import argparse
import concurrent.futures
import hashlib
import io
import lzma
import pathlib
import random
import re
import shutil
import subprocess
import sys
import tarfile

ACCENTS = ["en-us", "en-gb", "en-gb-scotland", "en-gb-x-rp"]
VARIANTS = ["m1", "m3", "m7", "f1", "f2", "f4"]
FLITE = ["slt", "rms", "awb", "kal16"]
BYTES_PER_SECOND = 2  # of 16-bit mono, times the sampling rate


def plain(sentence: str) -> str:
    return " ".join(re.sub(r"[^a-z' ]", " ", sentence.lower()).split())


def pairs(path: pathlib.Path) -> list[tuple[str, str]]:
    """Sentences of three to sixteen words of letters alone, each with its first translation."""
    text = (lzma.open(path).read() if path.suffix == ".xz" else path.read_bytes()).decode()
    found: dict[str, str] = {}
    for line in text.splitlines():
        fields = line.split("\t")
        if len(fields) < 2:
            sys.exit(f"{path}: '{line[:60]}': expected a sentence, a tab and its translation")
        english, german = fields[0].strip(), fields[1].strip()
        if 3 <= len(english.split()) <= 16 and re.fullmatch(r"[A-Za-z'][A-Za-z' ,.?!-]*", english):
            found.setdefault(plain(english), (english, german))
    return list(found.values())


def command(sentence: str, choice: random.Random) -> tuple[str, list[str]]:
    """A voice's name and what makes it speak, as WAV on standard output."""
    if choice.random() < 0.3:
        voice = choice.choice(FLITE)
        stretch = f"duration_stretch={choice.uniform(0.85, 1.2):.2f}"
        return f"flite_{voice}", ["flite", "-voice", voice, "--setf", stretch, "-t", sentence, "-o", "/dev/stdout"]
    voice = f"{choice.choice(ACCENTS)}+{choice.choice(VARIANTS)}"
    speed, pitch = choice.randint(135, 195), choice.randint(30, 65)
    return voice.replace("+", "_"), ["espeak-ng", "-v", voice, "-s", str(speed), "-p", str(pitch), "--stdout", sentence]


def seconds_of(wav: bytes) -> float:
    rate = int.from_bytes(wav[24:28], "little")
    return (len(wav) - 44) / (BYTES_PER_SECOND * rate)


def speak(task: tuple[str, str, str, int]) -> tuple[str, str, str, bytes, float]:
    identity, english, german, seed = task
    voice, speaker = command(english, random.Random(f"{seed} {identity}"))
    wav = subprocess.run(speaker, capture_output=True, check=True).stdout
    # Programs that write to a pipe leave lengths open in the header.
    wav = wav[:4] + (len(wav) - 8).to_bytes(4, "little") + wav[8:40] + (len(wav) - 44).to_bytes(4, "little") + wav[44:]
    packed = subprocess.run(["opusenc", "--quiet", "--bitrate", "24", "--comp", "4", "--serial", "1", "-", "-"],
                            input=wav,
                            capture_output=True, check=True).stdout
    return f"{identity}_{voice}", english, german, packed, seconds_of(wav)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", type=pathlib.Path,
                        help="a .tsv or .tsv.xz: a sentence, a tab and its translation on each line "
                        "(Tatoeba's English-German pairs, CC BY 2.0 FR)")
    parser.add_argument("out", type=pathlib.Path, help="path and beginning of the name of what is written")
    parser.add_argument("--hours", type=float, default=10, help="hours of speech (default: 10)")
    parser.add_argument("--test", type=int, default=500, help="sentences for testing (default: 500)")
    parser.add_argument("--jobs", type=int, default=2, help="sentences spoken at the same time (default: 2)")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of sentences and voices")
    options = parser.parse_args()
    for program in ["espeak-ng", "flite", "opusenc"]:
        if shutil.which(program) is None:
            sys.exit(f"{program} is missing: apt-get install espeak-ng flite opus-tools")
    sentences = pairs(options.pairs)
    sentences.sort(key=lambda pair: hashlib.sha256(f"{options.seed} {plain(pair[0])}".encode()).digest())
    tasks = [(f"{'test' if i < options.test else 'train'}_{i:06d}", *pair, options.seed)
             for i, pair in enumerate(sentences)]
    options.out.parent.mkdir(parents=True, exist_ok=True)
    names = {part: options.out.with_name(options.out.name + suffix)
             for part, suffix in [("tar", ".tar"), ("train", ".train.tsv"), ("test", ".test.tsv")]}
    lines: dict[str, list[str]] = {"train": [], "test": []}
    total = 0.0
    partial = names["tar"].with_suffix(".tar.part")
    with tarfile.open(partial, "w") as tar, concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        for begin in range(0, len(tasks), 256):
            for identity, english, german, packed, seconds in pool.map(speak, tasks[begin:begin + 256]):
                entry = tarfile.TarInfo(f"{identity}.opus")
                entry.size = len(packed)
                tar.addfile(entry, io.BytesIO(packed))
                lines[identity.split("_")[0]].append(f"{identity}\t{english}\t{german}\n")
                total += seconds
            print(f"\r{total / 3600:.2f} of {options.hours} hours", end="", file=sys.stderr, flush=True)
            if total >= 3600 * options.hours:
                break
    print(file=sys.stderr)
    for part in lines:
        unfinished = names[part].with_suffix(".tsv.part")
        unfinished.write_text("".join(lines[part]))
        unfinished.rename(names[part])
    partial.rename(names["tar"])
    print(f"{len(lines['train'])} sentences for training, {len(lines['test'])} for testing, {total / 3600:.2f} hours: "
          f"{names['tar']}")


if __name__ == "__main__":
    main()
