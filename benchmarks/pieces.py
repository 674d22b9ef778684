"""Pieces: what CPU time a mint takes, layer by layer, beside the same call through a `requests.Session`.

In this process and one after the other, so that all see the same machine: from the bare socket, which no client
can do without, to the app's whole handler. The log goes to /dev/null; there is no host around it.
"""

import asyncio
import http.client
import json
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from statistics import median
from typing import Self
from urllib.parse import urlsplit

import azure.functions as func
import requests

from benchmarks.figures import Figure
from benchmarks.targets import DEPLOYMENT, MINT_PATH, QUOTA, Upstream
from mint.trip import Trip
from mint.wire import Wire

ROUNDS = 1000
WARM_UP = 50


def measure() -> Iterator[Figure]:
    """Measure every layer over an upstream that answers at once."""
    with Upstream("pieces-upstream") as upstream:
        upstream.set(latency_ms=0, record=False)
        os.environ.update(upstream.identity_env())
        os.environ["AZURE_OPENAI_ENDPOINT"] = upstream.url
        os.environ["AZURE_OPENAI_REALTIME_DEPLOYMENT"] = DEPLOYMENT
        os.environ["MINT_QUOTA"] = QUOTA
        import function_app  # noqa: PLC0415 - it reads the environment that was just set

        mint = logging.getLogger("mint")
        mint.addHandler(logging.FileHandler(os.devnull))
        mint.setLevel(logging.INFO)
        mint.propagate = False
        service = function_app.service()
        handler = function_app.app.get_functions()[0].get_user_function()
        request = func.HttpRequest("POST", "/", headers={"Content-Type": "application/json"}, body=b"{}")
        session = {"type": "realtime", "model": DEPLOYMENT, **service.profiles.default.session}
        data = json.dumps({"session": session}).encode()
        token = service._identity.token(10)
        url = upstream.url + MINT_PATH
        loop = asyncio.new_event_loop()
        with closing(loop), _Socket(url, data, token) as bare, _HttpClient(url, data, token) as client:
            wire, kept = Wire(url, 1), requests.Session()
            layers: dict[str, Callable[[], object]] = {
                "a bare socket: send, receive": bare.call,
                "http.client": client.call,
                "the app's wire: its own use of requests' adapter": lambda: wire.post(
                    data, token, Trip(time.monotonic() + 10)
                ),
                "the five steps, mint_secret": lambda: function_app.mint_secret(
                    request, service, function_app.Entry()
                ),
                "the whole handler: the steps, thread and back, log, response": lambda: loop.run_until_complete(
                    handler(request)
                ),
                "requests.Session": lambda: kept.post(
                    url,
                    data=data,
                    headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
                    timeout=10,
                ),
            }
            took = _in_turn(layers)
    session_ms = took.pop("requests.Session")
    section = "CPU time of a mint, p50, beside a requests.Session that makes the same call"
    for name, milliseconds in took.items():
        yield Figure(section, name, milliseconds, "ms", session_ms)


def _in_turn(layers: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Call each in turn, so that a slow spell of the machine meets all of them; return p50s of CPU time in ms."""
    took: dict[str, list[float]] = {name: [] for name in layers}
    for number in range(WARM_UP + ROUNDS):
        for name, call in layers.items():
            began = time.process_time()
            call()
            if number >= WARM_UP:
                took[name].append(time.process_time() - began)
    return {name: 1000 * median(times) for name, times in took.items()}


class _Socket:
    """One connection, and one request written out."""

    def __init__(self, url: str, data: bytes, token: str) -> None:
        parts = urlsplit(url)
        self._socket = socket.create_connection((parts.hostname, parts.port or 80))
        head = (
            f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nAuthorization: Bearer {token}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
        )
        self._request = head.encode() + data

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._socket.close()

    def call(self) -> None:
        """Send, and take what comes, which the simulated resource writes at once."""
        self._socket.sendall(self._request)
        assert self._socket.recv(65536).startswith(b"HTTP/1.1 200")


class _HttpClient:
    """The standard library's client, on a connection that is kept."""

    def __init__(self, url: str, data: bytes, token: str) -> None:
        parts = urlsplit(url)
        self._connection = http.client.HTTPConnection(parts.hostname or "", parts.port)
        self._path, self._data = parts.path, data
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._connection.close()

    def call(self) -> None:
        """Make the call and read the reply."""
        self._connection.request("POST", self._path, self._data, self._headers)
        assert json.loads(self._connection.getresponse().read())["value"]
