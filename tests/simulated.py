"""A pytest plugin: the simulated Azure OpenAI resource as a process of its own, and fixtures for it.

One process serves the whole test session; the `azure` fixture resets its switches and records for each test.
"""

import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

import pytest
import requests

_ROOT = Path(__file__).resolve().parent.parent
_READY = "Simulated Azure OpenAI listening on "
_START_S = 30
_STOP_S = 10
MINT = "/openai/v1/realtime/client_secrets"
IDENTITY = "/msi/token"


def until(condition: Callable[[], object], timeout_s: float = 10) -> None:
    """Ask again and again until the condition is met; TimeoutError where it never is."""
    deadline = time.monotonic() + timeout_s
    between = threading.Event()
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not met within {timeout_s} s")
        between.wait(0.01)


class SimulatedAzure:
    """`python -m local.azure` on a free port; further arguments are passed to it.

    `verify` is what requests takes: the certificate to trust where the process serves TLS.
    """

    def __init__(self, *arguments: str, verify: str | bool = True) -> None:
        self._all_errors = ""
        self._errors = tempfile.TemporaryFile(mode="a+", encoding="utf-8")  # noqa: SIM115  closed by stop()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "local.azure", "--port", "0", *arguments],
            cwd=_ROOT,
            env={"PATH": os.environ.get("PATH", ""), "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, args=[self._process.stdout], daemon=True)
        self._reader.start()
        self._http = requests.Session()
        self._http.trust_env = False
        self._http.verify = verify
        try:
            self.url = self._ready_line().removeprefix(_READY)
        except BaseException:
            self.stop()
            raise
        self.identity_env = {
            "IDENTITY_ENDPOINT": f"{self.url}{IDENTITY}",
            "IDENTITY_HEADER": "simulated-identity-header",
        }
        self.app_env = {  # what is required, and transcription
            **self.identity_env,
            "AZURE_OPENAI_ENDPOINT": self.url,
            "AZURE_OPENAI_REALTIME_DEPLOYMENT": "gpt-realtime",
            "AZURE_OPENAI_TRANSCRIPTION_DEPLOYMENT": "gpt-4o-transcribe",
        }

    def _read(self, stdout: TextIO) -> None:
        for line in stdout:
            self._lines.put(line.rstrip("\n"))
        self._lines.put(None)

    def _ready_line(self) -> str:
        try:
            line = self._lines.get(timeout=_START_S)
        except queue.Empty:
            raise TimeoutError(f"no ready line within {_START_S} s; {self.errors()}") from None
        if line is None or not line.startswith(_READY):
            raise RuntimeError(f"not the ready line: {line!r}; {self.errors()}")
        return line

    def _control(self, method: str, path: str = "", json: object = None) -> requests.Response:
        response = self._http.request(method, f"{self.url}/_simulator{path}", json=json, timeout=10)
        if response.status_code >= 400:
            raise ValueError(response.text)
        return response

    def set(self, **switches: Any) -> dict[str, Any]:
        """Set switches; one that does not exist raises ValueError with the choices."""
        return self._control("PATCH", json=switches).json()

    def switches(self) -> dict[str, Any]:
        """Return the switches as they are now."""
        return self._control("GET").json()

    def requests(self, path: str | None = None) -> list[dict[str, Any]]:
        """Return what was recorded, oldest first; with a path, only that."""
        recorded = self._control("GET", "/requests").json()
        return [one for one in recorded if path is None or one["path"] == path]

    def mints(self) -> list[dict[str, Any]]:
        """Return the recorded mint requests."""
        return [one for one in self.requests(MINT) if one["method"] == "POST"]

    def identity_calls(self) -> list[dict[str, Any]]:
        """Return the recorded calls of the identity endpoint."""
        return self.requests(IDENTITY)

    def clear(self) -> None:
        """Forget what was recorded."""
        self._control("DELETE", "/requests")

    def reset(self) -> None:
        """Put the switches back and forget what was recorded."""
        self._control("POST", "/reset")

    def errors(self) -> str:
        """Return what the process wrote to stderr so far; after stop(), all of it."""
        if self._errors.closed:
            return self._all_errors
        self._errors.seek(0)
        return self._errors.read()

    def stop(self) -> int:
        """End the process as Azure ends an app, by SIGTERM, and return its exit code."""
        self._http.close()
        self._process.terminate()
        try:
            code = self._process.wait(timeout=_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        self._reader.join(timeout=_STOP_S)
        if self._process.stdout:
            self._process.stdout.close()
        self._all_errors = self.errors()
        self._errors.close()
        return code


@pytest.fixture(scope="session")
def azure_process() -> Iterator[SimulatedAzure]:
    """One simulated resource for the whole run."""
    simulated = SimulatedAzure()
    yield simulated
    simulated.stop()


@pytest.fixture
def azure(azure_process: SimulatedAzure) -> SimulatedAzure:
    """Give the simulated resource with its switches at their defaults and nothing recorded."""
    azure_process.reset()
    return azure_process
