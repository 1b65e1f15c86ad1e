"""What an operator can see: the events that log records carry."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import NamedTuple

logger = logging.getLogger("thingspace_auth_adapters")


class _UntilLoggingIsSetUp(logging.NullHandler):
    """Does nothing in a program that has set up logging; in others, warnings go to stderr.

    They name this package there: a newcomer's script should not fail in silence.
    """

    def handle(self, record: logging.LogRecord) -> bool:
        others = [*logger.handlers, *logging.getLogger().handlers]
        is_wanted = logging.lastResort is not None and record.levelno >= logging.WARNING
        if others == [self] and is_wanted:
            to_stderr = logging.StreamHandler()
            to_stderr.setFormatter(logging.Formatter("%(name)s: %(message)s"))
            # One that is closed, or a window's, must not fail the request.
            with suppress(Exception):
                to_stderr.handle(record)
        return True


if not logger.handlers:
    logger.addHandler(_UntilLoggingIsSetUp())


class AuthEvent(NamedTuple):
    """Something that happened to a token, as ``record.auth_event`` of a log record.

    Records go to the logger ``thingspace_auth_adapters``, at INFO, or at WARNING if nobody else
    learns of it. An event holds nothing secret, and a request that needs nothing but a token at
    hand makes none. Attributes that say nothing about an event are ``None``.

    Attributes:
        name (str): what happened:

            - ``fetched``: the token endpoint or a login brought a token.
            - ``fetch_failed``: one attempt at that, or a provider, failed.
            - ``provided``: ``oauth_token_provider`` returned a token, which is used.
            - ``loaded``: the store had a token.
            - ``refresh_failed``: a renewal failed, and its request went on without it.
            - ``rejected``: the platform rejected a token.
            - ``repeated``: the request was repeated with another token.
            - ``not_repeated``: it was not; ``reason`` says why.
            - ``waited``: a request waited for another one's refresh.
            - ``login_refused``: the platform refused a login.
            - ``login_blocked``: no login was attempted, which protects the account.
            - ``store_unavailable``: the store could not be reached or written, and was not used.
            - ``store_busy``: the store's lock was not free in time.
            - ``throttled``: an endpoint asked to be left alone, for so many ``seconds``.
            - ``no_token_for_host``: the first request to a host that is not allowed.
        credential (str): ``"access token"`` or ``"session token"``.
        seconds (float | None): how long it took.
        attempt (int | None): which attempt it was, from 1.
        status_code (int | None): the HTTP status of the answer that it is about.
        reason (str | None): a code of the platform's, the type of an error, or the name of a host.
            Of ``rejected`` it is ``certain`` or ``suspected``, of ``not_repeated`` a sentence such
            as "there is no other token".
    """

    name: str
    credential: str
    seconds: float | None = None
    attempt: int | None = None
    status_code: int | None = None
    reason: str | None = None
