"""A worker: many callers in one process, over plain sockets. Reads an order on stdin, writes a result to stdout.

Written out by hand because a client library would need more CPU time than the endpoint it calls.
"""

import asyncio
import json
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any
from urllib.parse import urlsplit

from benchmarks.window import Window

ANSWER_SECONDS = 30
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class Connection(asyncio.Protocol):
    """One HTTP/1.1 connection with one request under way; of the answer it reads the status and the length."""

    def __init__(self) -> None:
        self.open = False
        self._got = bytearray()
        self._end = 0
        self._answer: asyncio.Future[str] | None = None
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember the transport."""
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport, self.open = transport, True

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the request that is under way."""
        self.open = False
        if self._answer and not self._answer.done():
            self._answer.set_exception(exc or ConnectionError("closed before the answer"))

    def data_received(self, data: bytes) -> None:
        """Collect the answer until it is whole."""
        self._got += data
        if not self._end:
            head = self._got.find(b"\r\n\r\n")
            if head < 0:
                return
            length = _LENGTH.search(self._got, 0, head + 2)
            self._end = head + 4 + (int(length[1]) if length else 0)
        if len(self._got) >= self._end and self._answer and not self._answer.done():
            self._answer.set_result(self._got[9:12].decode())

    async def ask(self, request: bytes) -> str:
        """Send a request and return the status of its answer."""
        assert self._transport is not None
        self._got.clear()
        self._end = 0
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer


class Caller:
    """Someone who asks again and again, and connects anew only when the server has hung up."""

    def __init__(self, target: dict[str, Any]) -> None:
        url = urlsplit(target["url"])
        self._address = (url.hostname, url.port)
        body = target["body"].encode()
        headers = {"Host": url.netloc, **target["headers"], "Content-Length": str(len(body))}
        path = f"{url.path}?{url.query}" if url.query else url.path
        lines = [f"{target['method']} {path} HTTP/1.1", *(f"{name}: {text}" for name, text in headers.items())]
        self._request = "\r\n".join([*lines, "", ""]).encode() + body
        self._connection = Connection()

    async def ask(self) -> str:
        """Return the answer's status, or the name of what went wrong."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                if not self._connection.open:
                    loop = asyncio.get_running_loop()
                    _, self._connection = await loop.create_connection(Connection, *self._address)
                return await self._connection.ask(self._request)
        except (OSError, TimeoutError) as error:
            return type(error).__name__


async def steady(target: dict[str, Any], callers: int, seconds: float) -> dict[str, Any]:
    """Let each caller ask again as soon as it is answered; one that is refused asks no more."""
    window = Window(callers, seconds)
    statuses: Counter[str] = Counter()

    async def keep_asking(caller: Caller) -> None:
        status, answered = "200", False
        while status == "200" and not window.over():
            began = time.perf_counter()
            status = await caller.ask()
            statuses[status] += 1
            window.note(began)
            if not answered:
                window.warm()
                answered = True

    await asyncio.gather(*(keep_asking(Caller(target)) for _ in range(callers)))
    return {**window.result(), "statuses": statuses, "cpu_seconds": time.process_time()}


async def times(target: dict[str, Any], callers: int, number: int) -> dict[str, Any]:
    """Let callers ask until they have been answered so many times in all."""
    left, statuses = iter(range(number)), Counter[str]()

    async def keep_asking(caller: Caller) -> None:
        for _ in left:
            statuses[await caller.ask()] += 1

    await asyncio.gather(*(keep_asking(Caller(target)) for _ in range(callers)))
    return {"statuses": statuses}


async def bursts(target: dict[str, Any], callers: int, rounds: int, warm_up: int) -> list[dict[str, Any]]:
    """Let all callers ask at once, round after round."""
    everybody = [Caller(target) for _ in range(callers)]
    results = []
    for _ in range(warm_up + rounds):
        started = time.perf_counter()
        statuses = Counter(await asyncio.gather(*(caller.ask() for caller in everybody)))
        results.append({"seconds": time.perf_counter() - started, "statuses": statuses})
        await asyncio.sleep(0.2)
    return results[warm_up:]


def main() -> None:
    """Carry out the order."""
    order = json.load(sys.stdin)
    kinds: dict[str, Callable[..., Coroutine[Any, Any, Any]]] = {
        "steady": steady,
        "times": times,
        "bursts": bursts,
    }
    json.dump(asyncio.run(kinds[order.pop("kind")](**order)), sys.stdout)


if __name__ == "__main__":
    main()
