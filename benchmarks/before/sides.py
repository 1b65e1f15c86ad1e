"""The older package and this one, imported side by side."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from typing import Any, NamedTuple

from ..both import LIBRARIES
from ..subjects import Endpoint, OnHttpx, OnRequests, Subject

NOW = "thingspace_auth_adapters"
BEFORE = "thingspace_auth_adapters_before"
SIDES = (BEFORE, NOW)
"""The older package goes by a name of its own."""

ALL_LIBRARIES = ("requests", *LIBRARIES)


class Pair(NamedTuple):
    """One figure of both packages."""

    before: float
    now: float

    def cells(self, form: str = ".2f") -> list[str]:
        """Both, and their ratio."""
        return [format(self.before, form), format(self.now, form), f"{self.now / self.before:.2f}"]


def load(directory: str) -> Path:
    """Import the older package; the directory, made absolute."""
    checkout = Path(directory).resolve()
    init = checkout / NOW / "__init__.py"
    spec = importlib.util.spec_from_file_location(
        BEFORE, init, submodule_search_locations=[str(init.parent)]
    )
    if spec is None or spec.loader is None:
        raise ImportError(f"{init} is no package")
    package = importlib.util.module_from_spec(spec)
    # Its modules import one another by this name.
    sys.modules[BEFORE] = package
    spec.loader.exec_module(package)
    return checkout


def subject(package: str, library: str, endpoint: Endpoint) -> Subject:
    """An auth object without a token."""
    return subject_of(auth(package, library, **endpoint.our_options), library, endpoint.api_url)


def auth(package: str, library: str, **options: Any) -> Any:
    """An auth object of this package, for this library."""
    return importlib.import_module(f"{package}.{library}").ThingspaceAuth(**options)


def subject_of(auth: Any, library: str, url: str) -> Subject:
    """An auth object, and one of its library's clients that uses it."""
    if library == "requests":
        return OnRequests(auth, url)
    return OnHttpx(LIBRARIES[library], auth, url)


def account(package: str, endpoint: Endpoint) -> Any:
    """What M2M sessions are opened with."""
    credentials = importlib.import_module(package).VzM2mCredentials
    return credentials(endpoint.username, endpoint.password)
