"""Tells which files of the package a wheel or sdist lacks: ``python tests/packed.py dist``."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

PACKAGE = "thingspace_auth_adapters"


def names_in(archive: Path) -> list[str]:
    if archive.suffix == ".whl":
        return zipfile.ZipFile(archive).namelist()
    with tarfile.open(archive) as sdist:
        # Without the directory in which all of it is.
        return [name.partition("/")[2] for name in sdist.getnames()]


def main(directory: Path) -> str | int:
    """The exit status; what is text is printed, and counts as 1."""
    git = ["git", "ls-files", PACKAGE]
    listed = subprocess.run(git, check=True, stdout=subprocess.PIPE, text=True)
    wanted, archives = set(listed.stdout.split()), sorted(directory.iterdir())
    lines = [f"{one.name} lacks {name}" for one in archives for name in wanted - {*names_in(one)}]
    return "\n".join(sorted(lines)) or (0 if archives and wanted else "there is nothing to compare")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
