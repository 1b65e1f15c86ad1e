"""Part 1, rule 7: a 401 is judged whatever else its headers hold."""

from __future__ import annotations

from typing import Any

import pytest

from ..support.kinds import Kind
from ..support.virtual import API, GATEWAY_REFUSAL, Answer, Platform


@pytest.mark.parametrize("charset", ["latin-1", "utf-8"])
def test_401_with_a_cookie_that_is_not_ascii(kind: Kind, platform: Platform, charset: str) -> None:
    cookie: Any = "who=J\xfcrgen; Path=/".encode(charset)
    headers = {"Set-Cookie": cookie.decode("latin-1") if kind.is_requests else cookie}
    platform.api = [Answer(401, GATEWAY_REFUSAL, headers)]
    assert kind.get(kind.auth(platform), API, platform).status == 200
    assert platform.bearers == ["token-1", "token-2"]
