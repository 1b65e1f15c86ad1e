"""urllib with POST: both tokens, their renewal, and errors that are answers."""

from __future__ import annotations

import json
import os
from typing import Any
from urllib.error import HTTPError
from urllib.request import HTTPRedirectHandler, Request, build_opener

from thingspace_auth_adapters.requests import ThingspaceAuth

BASE_URL = os.environ.get("THINGSPACE_BASE_URL", "https://thingspace.verizon.com")


class NoRedirects(HTTPRedirectHandler):
    # urllib would take our headers along to wherever a redirect leads.
    def redirect_request(self, *args: Any) -> None:
        return None


OPENER = build_opener(NoRedirects)


def post(auth: ThingspaceAuth, path: str, content: Any) -> Any:
    url, body = BASE_URL + path, json.dumps(content).encode()
    ours = sent = auth.headers(url)
    for _ in range(len(ours) + 1):
        request = Request(url, body, {"Content-Type": "application/json", **sent})
        try:
            with OPENER.open(request, timeout=30) as answer:
                return json.load(answer)
        except HTTPError as refusal:
            with refusal:
                text = refusal.read()
            again = auth.recover(url, ours, "POST", refusal.code, refusal.headers, text)
            if again is None:
                raise
            # One repeat for each credential: one that was renewed is not shown again.
            ours = {name: value for name, value in ours.items() if again.get(name, value) == value}
            sent = {**sent, **again}
    raise AssertionError("there are no more credentials to renew")


def main() -> None:
    auth = ThingspaceAuth.from_environment()
    try:
        print(post(auth, "/api/m2m/v1/devices/actions/list", {"accountName": "0000123456-00001"}))
    except HTTPError as refusal:
        print(refusal.code, refusal.reason)


if __name__ == "__main__":
    main()
