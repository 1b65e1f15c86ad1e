"""The command line: ``thingspace-auth``, or ``python -m thingspace_auth_adapters``."""

from __future__ import annotations

import argparse
import sys
import threading
from collections.abc import Sequence

from . import __version__
from .errors import ThingspaceAuthError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments (Sequence[str] | None): by default the command line's.

    Returns:
        0 on success, 1 on failure. Usage errors exit with status 2.
    """
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except (ThingspaceAuthError, ImportError, OSError, ValueError) as error:
        print(f"thingspace-auth: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        pass
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="thingspace-auth",
        description="ThingSpace OAuth for requests, httpx and httpx2: see what it does.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    demo = commands.add_parser(
        "demo",
        help="show the life of a token and of a session with each installed HTTP library",
        description="Show the life of a token and of an M2M session with each installed HTTP"
        " library: against the embedded simulator; or, with THINGSPACE_OAUTH_OAUTH_CLIENT_ID and"
        " THINGSPACE_OAUTH_OAUTH_CLIENT_SECRET in the environment, a harmless round with"
        " ThingSpace itself, without a login (THINGSPACE_BASE_URL names another base URL).",
    )
    demo.set_defaults(run=_demo)
    simulate = commands.add_parser(
        "simulate",
        help="serve a simulated ThingSpace on this machine, until interrupted",
        description="Serve a simulated ThingSpace on 127.0.0.1, until interrupted.",
    )
    simulate.add_argument("--port", type=int, default=0, help="by default any free one")
    simulate.add_argument(
        "--token-lifetime", type=float, default=3600, metavar="SECONDS", help="default: 3600"
    )
    simulate.add_argument(
        "--sessions-required", action="store_true", help="refuse requests without an M2M session"
    )
    simulate.set_defaults(run=_simulate)
    return parser


def _demo(options: argparse.Namespace) -> None:
    from .demo import run_demo

    run_demo()


def _simulate(options: argparse.Namespace) -> None:
    from .simulator import ThingspaceSimulator

    with ThingspaceSimulator(
        port=options.port,
        token_lifetime=options.token_lifetime,
        sessions_required=options.sessions_required,
    ) as simulator:
        print(f"THINGSPACE_BASE_URL={simulator.url}")
        print(f"THINGSPACE_OAUTH_OAUTH_CLIENT_ID={simulator.client_id}")
        print(f"THINGSPACE_OAUTH_OAUTH_CLIENT_SECRET={simulator.client_secret}")
        print(f"VZ_M2M_USERNAME={simulator.username}")
        print(f"VZ_M2M_PASSWORD={simulator.password}", flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    sys.exit(main())
