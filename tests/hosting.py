"""Starts the Functions host as a process of its own, for tests that speak HTTP to a function app.

The process gets PATH, HOME and what the test names; a local.settings.json beside the product is not read.
"""

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, NoReturn, Self

import pytest

ROOT = Path(__file__).resolve().parent.parent
READY = "Functions host listening on "


def without(what: str) -> NoReturn:
    """Skip a test that needs what this machine does not have; where CI is set, fail it instead."""
    if os.environ.get("CI"):
        pytest.fail(what)
    pytest.skip(what)


def copy_app(to: Path) -> Path:
    """Copy there what runs of the app, for a test to change; return it."""
    for name in ("mint", "sessions"):
        shutil.copytree(ROOT / name, to / name)
    for name in ("function_app.py", "host.json"):
        shutil.copy(ROOT / name, to)
    return to


class Host:
    """A running host: `url`, `log` (all output so far) and `stop()`. Also a context manager."""

    def __init__(self, env: dict[str, str], *args: str, app: Path = ROOT) -> None:
        # What a developer keeps in local.settings.json must not decide how the product's tests end.
        settings = ("--settings", os.devnull) if app == ROOT else ()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "local.host", "--port", "0", "--app", str(app), *settings, *args],
            cwd=ROOT,
            env={name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ} | env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        self._lines: list[str] = []
        self._changed = threading.Condition()
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        pipes = (self._process.stdout, self._process.stderr)
        self._open_pipes = len(pipes)
        self._readers = [threading.Thread(target=self._read, args=(pipe,), daemon=True) for pipe in pipes]
        for reader in self._readers:
            reader.start()
        try:
            self.wait_for(READY)
        except BaseException:
            self.stop()
            raise
        with self._changed:
            ready = next(line for line in self._lines if line.startswith(READY))
        self.url = ready.removeprefix(READY).strip()

    def _read(self, pipe: IO[str]) -> None:
        with pipe:
            for line in pipe:
                with self._changed:
                    self._lines.append(line)
                    self._changed.notify_all()
        with self._changed:
            self._open_pipes -= 1
            self._changed.notify_all()

    @property
    def log(self) -> str:
        """All that the host has written so far, to stdout and stderr."""
        with self._changed:
            return "".join(self._lines)

    def wait_for(self, text: str, seconds: float = 30) -> None:
        """Return when the text is in the log: output arrives a little after the reply that it belongs to."""
        with self._changed:
            arrived = self._changed.wait_for(lambda: text in "".join(self._lines) or not self._open_pipes, seconds)
            log = "".join(self._lines)
        if text not in log:
            how = "did not write" if arrived is False else "ended without writing"
            raise RuntimeError(f"The host {how} {text!r}. Its output:\n{log}")

    def signal(self, number: int) -> None:
        """Send a signal and return at once; `wait()` then tells how the host ended."""
        self._process.send_signal(number)

    def stop(self) -> int:
        """Ask the host to end, wait until it has, and return its exit code."""
        self._process.terminate()
        return self.wait()

    def wait(self) -> int:
        """Wait until the host has ended, and return its exit code; one that takes too long is killed."""
        try:
            code = self._process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        for reader in self._readers:
            reader.join()
        return code

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()


@pytest.fixture
def start_host() -> Iterator[Callable[..., Host]]:
    """`start_host(env, *args, app=...)`; every host it started is stopped after the test."""
    with ExitStack() as hosts:

        def start(env: dict[str, str], *args: str, app: Path = ROOT) -> Host:
            return hosts.enter_context(Host(env, *args, app=app))

        yield start
