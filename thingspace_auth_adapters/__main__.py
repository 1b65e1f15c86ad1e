"""The command line: ``thingspace-auth``, or ``python -m thingspace_auth_adapters``."""

from __future__ import annotations

import sys

from .cli import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
