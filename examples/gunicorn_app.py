"""A WSGI app for a pre-fork server, all of whose workers share one token and one session::

    gunicorn --workers 8 --chdir examples gunicorn_app:app

Five workers without a store can lock the user name: each would try a wrong password once. This
store is for one machine; workers on several machines share a ``RedisTokenStore``. ``--preload``
works, too.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

import requests

from thingspace_auth_adapters.requests import ThingspaceAuth
from thingspace_auth_adapters.stores import FileTokenStore

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

BASE_URL = os.environ.get("THINGSPACE_BASE_URL", "https://thingspace.verizon.com")
AUTH = ThingspaceAuth.from_environment(store=FileTokenStore())


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    url = f"{BASE_URL}/api/m2m/v1/devices{environ['PATH_INFO']}"
    response = requests.get(url, auth=AUTH, timeout=30)
    headers = [("Content-Type", response.headers.get("Content-Type", "text/plain"))]
    start_response(f"{response.status_code} {response.reason}", headers)
    return [response.content]
