"""Tells which files of the package a wheel lacks: ``python tests/packed.py dist``.

The wheel is built from the sdist, so what neither has is missing here, too.
"""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

PACKAGE = "thingspace_auth_adapters"


def main(directory: Path) -> str | int:
    """The exit status; what is text is printed, and counts as 1."""
    (wheel,) = directory.glob("*.whl")
    git = ["git", "ls-files", PACKAGE]
    listed = subprocess.run(git, check=True, stdout=subprocess.PIPE, text=True)
    missing = {*listed.stdout.split()} - {*zipfile.ZipFile(wheel).namelist()}
    return "\n".join(f"{wheel.name} lacks {name}" for name in sorted(missing)) or 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
