"""Why a call brought no answer: told by types, for each library, and carried by its error."""

from __future__ import annotations

from .kinds import INSTALLED

PROXIES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY")
LIBRARIES = list({kind.library: kind for kind in INSTALLED}.values())
