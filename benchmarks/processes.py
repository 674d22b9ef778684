"""Processes that a run starts, their CPU time, and their end.

Each leads a process group of its own, so that its workers are measured with it and none outlives the run.
"""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"
START_SECONDS = 30
STOP_SECONDS = 5
_OF_A_PROCESS = 2
"""The kernel's CPUCLOCK_SCHED: with a process's number, a clock of its CPU time, finer than the ticks in /proc."""


class CannotRunError(Exception):
    """Something that was to be measured could not be started or called; the text says what and why."""


class Process:
    """A server in a process of its own, from when it is ready until the end of the `with` block."""

    def __init__(
        self, name: str, command: Sequence[str], env: Mapping[str, str], *, ready: str = "", port: int = 0
    ) -> None:
        """Start it and wait until it prints `ready`, which its URL follows, or listens on `port`."""
        log = BUILD / "benchmarks" / f"{name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        self.name = name
        self._log = log
        # Into a file, as reading a pipe would take CPU time from what is measured.
        with log.open("wb") as output:
            self._process = subprocess.Popen(  # noqa: S603 - commands from this package
                command,
                cwd=ROOT,
                env=environment(env),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        try:
            self.url = self._wait(ready, port)
        except BaseException:
            self.stop()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    def log(self) -> str:
        """Return what the process has written so far."""
        return self._log.read_text("utf-8", "replace")

    def cpu_seconds(self) -> float:
        """Return the CPU time used so far by the process and those that it started."""
        return sum(_cpu_seconds_of_group(self._process.pid))

    def stop(self) -> None:
        """End the process and its group: first politely."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_SECONDS)

    def _wait(self, ready: str, port: int) -> str:
        give_up = time.monotonic() + START_SECONDS
        while time.monotonic() < give_up:
            if self._process.poll() is not None:
                break
            if port and _listens(port):
                return f"http://127.0.0.1:{port}"
            for line in self._log.read_text("utf-8", "replace").splitlines(keepends=True) if ready else ():
                if line.startswith(ready) and line.endswith("\n"):
                    return line.removeprefix(ready).strip()
            time.sleep(0.02)
        tail = self._log.read_text("utf-8", "replace")[-2000:]
        raise CannotRunError(f"{self.name} did not start. The end of {self._log.relative_to(ROOT)}:\n{tail}")


def environment(more: Mapping[str, str]) -> dict[str, str]:
    """Return a process's environment: what it names, and of ours no proxy, certificate or app setting."""
    return {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ} | dict(more)


def free_port() -> int:
    """Return a port that nobody listens on, for servers that cannot choose one and say so."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _listens(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


def _cpu_seconds_of_group(group: int) -> list[float]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # The name in parentheses may hold blanks; after it: state, parent, group.
            fields = path.read_text("utf-8", "replace").rpartition(")")[2].split()
            if int(fields[2]) == group:
                found.append(time.clock_gettime(~int(path.parent.name) << 3 | _OF_A_PROCESS))
    return found
