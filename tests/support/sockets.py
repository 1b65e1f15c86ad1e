"""Servers of a few lines, for what goes wrong before there is an answer."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Callable

# Of localhost, signed by nobody, valid until 2126, and used for nothing else.
SELF_SIGNED = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgLA65ephV1FVM2WKQ
SERoNC4y0s2LwotDV6tQe3Pnb5OhRANCAAQot24UwvqJ9VgivTMdXeM5MnL5Oz4Q
IOhbQGeNd6ThvQPvp4uc/QdvaMi/EsoG6xb5P4zB8+A75q4TZku1jQC+
-----END PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBnDCCAUGgAwIBAgIUKI5pUHRW+c3EvFQ3v/vPZrTgjdAwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyNDAzMjU0MloYDzIxMjYxMDMx
MDMyNTQyWjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAAQot24UwvqJ9VgivTMdXeM5MnL5Oz4QIOhbQGeNd6ThvQPvp4uc/Qdv
aMi/EsoG6xb5P4zB8+A75q4TZku1jQC+o28wbTAdBgNVHQ4EFgQU6GbDCYcHcSbe
3nSu2P4W/KSed28wHwYDVR0jBBgwFoAU6GbDCYcHcSbe3nSu2P4W/KSed28wDwYD
VR0TAQH/BAUwAwEB/zAaBgNVHREEEzARhwR/AAABgglsb2NhbGhvc3QwCgYIKoZI
zj0EAwIDSQAwRgIhAKIfW9l4SlmMKftm8k51wKylP5UoKBirx13JzWPz6byQAiEA
h6//AZllm9LbDh1Gg6S8ujJ+zWApxQq5BN4FV+qrY/A=
-----END CERTIFICATE-----
"""


@contextmanager
def listening(serve: Callable[[socket.socket], object]) -> Iterator[int]:
    """The port of a server that deals with each connection like this."""

    def accept() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection, suppress(OSError):
                    serve(connection)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        # Wakes the thread, which closing alone does not on every system.
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
    thread.join(10)
