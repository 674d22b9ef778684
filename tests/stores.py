"""Starts a real redis-server for tests; one that needs it is skipped where there is none, and fails in CI."""

import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.hosting import without
from tests.simulated import until

PASSWORD = "hunter2-of-the-store"  # noqa: S105 - of a server that lives for one test


class Store:
    """A redis-server on a port of its own, which stays the same over `stop` and `start`."""

    def __init__(self, directory: Path) -> None:
        binary = shutil.which("redis-server")
        if binary is None:
            without("redis-server is needed. On Debian and Ubuntu: apt-get install redis-server")
        self._binary, self._directory = binary, directory
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self.uri = f"redis://:{PASSWORD}@127.0.0.1:{self._port}/0"
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Start it and wait until it answers."""
        self._process = subprocess.Popen(
            [self._binary, "--port", str(self._port), "--bind", "127.0.0.1", "--requirepass", PASSWORD,
             "--save", "", "--dir", str(self._directory)],
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        until(self._answers)

    def _answers(self) -> bool:
        with redis.Redis.from_url(self.uri) as client:
            try:
                return bool(client.ping())
            except redis.ConnectionError:
                return False

    def stop(self) -> None:
        """End it at once; what it knew is lost."""
        if self._process:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            self._process.wait()
            self._process = None

    def hang(self) -> None:
        """Let it accept connections and answer nothing."""
        assert self._process
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """End a hang."""
        assert self._process
        self._process.send_signal(signal.SIGCONT)

    def command(self, *words: str) -> object:
        """Send one command and return the answer."""
        with redis.Redis.from_url(self.uri, decode_responses=True) as client:
            return client.execute_command(*words)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A running redis-server with nothing in it."""
    running = Store(tmp_path)
    yield running
    running.stop()
