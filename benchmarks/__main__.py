"""Runs the benchmark and prints one Markdown document.

``python -m benchmarks [--quick] [--only NAME] [--before DIRECTORY]``; what it needs stands in
requirements.txt.
"""

from __future__ import annotations

import argparse
import logging
import os
import platform
import time
from collections.abc import Callable, Sequence
from importlib import metadata

import thingspace_auth_adapters

from . import (
    alone,
    before,
    both,
    cold,
    crowds,
    expiry,
    guard,
    imports,
    memory,
    setups,
    stores,
    threads,
    whole,
)
from .simulated import Simulated, simulated

Section = Callable[[Simulated, float], str]

_SECTIONS: dict[str, Section] = {
    "setups": setups.run,
    "alone": alone.run,
    "both": both.run,
    "guard": guard.run,
    "threads": threads.run,
    "whole": whole.run,
    "expiry": expiry.run,
    "cold": cold.run,
    "crowds": crowds.run,
    "imports": imports.run,
    "stores": stores.run,
    "memory": memory.run,
}
_QUICK = 0.1
_LIBRARIES = (
    "requests", "urllib3", "httpx", "httpx2", "anyio", "werkzeug", "requests_auth", "httpx_auth",
    "requests_oauth2client", "Authlib", "singleflight-auth", "sdksio-verizon-apis-sdk",
)  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    # Warnings of any contender's belong neither in the document nor on the terminal.
    logging.getLogger().addHandler(logging.NullHandler())
    started = time.monotonic()
    scale = _QUICK if options.quick else 1
    _show(_facts(options.quick))
    with simulated() as platform_simulated:
        if options.before:
            for section in before.run(options.before, platform_simulated, scale):
                _show(section)
        else:
            for name in options.only or _SECTIONS:
                _show(_SECTIONS[name](platform_simulated, scale))
    _show(f"Measured in {time.monotonic() - started:.0f} s.")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the work: a smoke test")
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument(
        "--only", action="append", choices=list(_SECTIONS), help="one section; may be repeated"
    )
    chosen.add_argument(
        "--before",
        metavar="DIRECTORY",
        help="this package beside an older checkout of it; needs no peer",
    )
    return parser


def _show(text: str) -> None:
    print(text, end="\n\n", flush=True)


def _facts(is_quick: bool) -> str:
    lines = [
        "# Benchmark",
        "",
        "Everything below was measured in this run, side by side; lower is better except where a"
        " column is calls a second.",
        "",
        f"- thingspace_auth_adapters {thingspace_auth_adapters.__version__}",
        f"- {platform.python_implementation()} {platform.python_version()}, {platform.system()}"
        f" {platform.machine()}, {os.cpu_count()} CPUs, load at the start {_load()}",
        "- " + ", ".join(filter(None, map(_version, _LIBRARIES))),
    ]
    if is_quick:
        lines += ["", "A quick run: a tenth of the work. It shows that it works, and no more."]
    return "\n".join(lines)


def _version(name: str) -> str:
    """Empty if it is not installed: not every section needs every library."""
    try:
        return f"{name} {metadata.version(name)}"
    except metadata.PackageNotFoundError:
        return ""


def _load() -> str:
    return f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"


if __name__ == "__main__":
    main()
